"""Two-dimensional Daubechies wavelet transform, 8 taps (``db4``), half-sample symmetric borders.

Filters: Daubechies 1988, doi:10.1002/cpa.3160410705, table 6.1 (N = 4). The coefficients equal
those of PyWavelets' ``wavedec2(x, "db4", mode="symmetric")``.

Both directions are products with a small dense matrix per block of rows or columns: a block of 2T
samples costs 2T + 6 multiplications per sample instead of 8, but runs at the speed of a matrix
product and never leaves the cache.
"""

from __future__ import annotations

from functools import lru_cache

import torch

from forensics.arrays import Array, like, to_tensor

_LOW = (
    -0.010597401785069032,
    0.0328830116668852,
    0.030841381835560764,
    -0.18703481171909309,
    -0.027983769416859854,
    0.6308807679298589,
    0.7148465705529157,
    0.2303778133088965,
)
_HIGH = tuple((-1) ** (k + 1) * c for k, c in enumerate(reversed(_LOW)))
_TAPS = len(_LOW)
_BORDER = _TAPS - 2  # samples before the first that the first coefficient reaches
_ROWS, _COLUMNS = 16, 24  # coefficients per block: the temporaries of a strip of rows fit in cache
_GPU_BLOCK = 256  # few launches matter more there

Details = tuple[Array, Array, Array]


def max_level(height: int, width: int) -> int:
    """Levels until a filter covers the whole image: ``floor(log2(min(height, width) / 7))``."""
    return max((min(height, width) // (_TAPS - 1)).bit_length() - 1, 0)


def dwt2(x: Array, levels: int) -> tuple[Array, list[Details[Array]]]:
    """Multi-level transform of (H, W), any real dtype; computed in float32.

    Returns:
        The approximation and, coarsest level first, the details (horizontal, vertical, diagonal):
        high-pass down the columns, along the rows, both. An axis of n samples has
        ``(n + 7) // 2`` coefficients.

    Raises:
        ValueError: not two axes, or more levels than ``max_level``.
    """
    plane = to_tensor(x)
    if plane.ndim != 2 or not 0 <= levels <= max_level(*plane.shape):
        raise ValueError(
            f"cannot take {levels} levels of an array of shape {tuple(plane.shape)}: "
            "it needs two axes of at least 7 * 2**levels samples"
        )
    details: list[Details[Array]] = []
    plane = plane.to(torch.float32)
    for _ in range(levels):
        bands = analyse(plane)
        details.insert(0, (like(x, bands[1]), like(x, bands[2]), like(x, bands[3])))
        plane = bands[0]
    return like(x, plane), details


def idwt2(approximation: Array, details: list[Details[Array]], shape: tuple[int, int]) -> Array:
    """Inverse of ``dwt2`` for an image of ``shape``, float32."""
    sizes = [shape]
    for _ in details[1:]:
        sizes.append((coefficients(sizes[-1][0]), coefficients(sizes[-1][1])))
    plane = to_tensor(approximation)
    for (horizontal, vertical, diagonal), size in zip(details, reversed(sizes), strict=True):
        bands = [plane, to_tensor(horizontal), to_tensor(vertical), to_tensor(diagonal)]
        plane = synthesise(torch.stack(bands), *size)
    return like(approximation, plane)


def coefficients(samples: int) -> int:
    """Coefficients per band of an axis."""
    return (samples + _TAPS - 1) // 2


def analyse(x: torch.Tensor, out: torch.Tensor | None = None, offset: float = 0.0) -> torch.Tensor:
    """One level of ``x - offset``, (H, W) of any dtype and strides, H and W at least 7.

    Returns (4, H', W') float32: approximation, horizontal, vertical, diagonal detail; in ``out``
    where that is given.
    """
    height, width = x.shape
    rows, columns = coefficients(height), coefficients(width)
    if out is None:
        out = torch.empty(4, rows, columns, device=x.device)
    bands = out.view(2, 2, rows, columns).transpose(0, 1)  # low/high down, low/high along
    t, c = _blocks(x.device, rows, columns)
    down = _analysis(t, x.device)
    blocks = -(-columns // c)
    along = _analysis(c, x.device).T.contiguous().expand(blocks, -1, -1)
    padded = 2 * c * blocks + _BORDER
    strip = torch.zeros(2 * t + _BORDER, padded, device=x.device)
    inside = strip[:, _BORDER : _BORDER + width]
    after = min(_TAPS - 1, padded - _BORDER - width)  # mirrored columns past the last
    mirror_left = strip[:, _BORDER : 2 * _BORDER]
    mirror_right = strip[:, _BORDER + width - after : _BORDER + width]
    filtered = torch.empty(2 * t, padded, device=x.device)
    windows = filtered.as_strided((blocks, 2 * t, 2 * c + _BORDER), (2 * c, padded, 1))
    product = torch.empty(blocks, 2 * t, 2 * c, device=x.device)
    # (low/high row, low/high column, row, block, column)
    split = product.view(blocks, 2, t, 2, c).permute(1, 3, 2, 0, 4)
    for i in range(0, rows, t):
        first, stop = 2 * i - _BORDER, 2 * i + 2 * t
        if first >= 0 and stop <= height:
            inside.copy_(x[first:stop])
        else:
            inside.copy_(x[_reflect(first, stop, height).to(x.device)])
        if offset:
            inside.sub_(offset)
        strip[:, :_BORDER] = mirror_left.flip(1)
        strip[:, _BORDER + width : _BORDER + width + after] = mirror_right.flip(1)
        torch.mm(down, strip, out=filtered)
        torch.bmm(windows, along, out=product)
        n = min(t, rows - i)
        whole = columns // c
        target = bands[:, :, i : i + n]
        blockwise = target[..., : whole * c].view(2, 2, n, whole, c)
        blockwise.copy_(split[:, :, :n, :whole])
        if whole < blocks:
            target[..., whole * c :] = split[:, :, :n, whole, : columns - whole * c]
    return out


def synthesise(bands: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Inverse of ``analyse``: (4, H', W') to (H, W). Coefficients past the image are ignored."""
    rows, columns = coefficients(height), coefficients(width)
    # (low/high down, row, low/high along, column)
    grid = bands[:, :rows, :columns].view(2, 2, rows, columns).permute(1, 2, 0, 3)
    out = torch.empty(height, width, device=bands.device)
    t, c = _blocks(bands.device, -(-height // 2), -(-width // 2))
    reach = _BORDER // 2
    down = _synthesis(t, bands.device)
    blocks = -(-width // (2 * c))
    along = _synthesis(c, bands.device).T.contiguous()
    low, high = (m.expand(blocks, -1, -1) for m in (along[: c + reach], along[c + reach :]))
    padded = c * blocks + reach
    # rows: low then high band; columns: low then high band
    strip = torch.zeros(2, t + reach, 2, padded, device=bands.device)
    used = min(columns, padded)
    filtered = torch.empty(2 * t, 2 * padded, device=bands.device)
    shape, strides = (blocks, 2 * t, c + reach), (c, 2 * padded, 1)
    windows = [filtered.as_strided(shape, strides, offset) for offset in (0, padded)]
    product = torch.empty(blocks, 2 * t, 2 * c, device=bands.device)
    whole = width // (2 * c)
    for i in range(0, height, 2 * t):
        n = min(t + reach, rows - i // 2)
        strip[:, :n, :, :used] = grid[:, i // 2 : i // 2 + n, :, :used]
        torch.mm(down, strip.view(2 * (t + reach), 2 * padded), out=filtered)
        torch.bmm(windows[0], low, out=product)
        product.baddbmm_(windows[1], high)
        n = min(2 * t, height - i)
        target, source = out[i : i + n], product[:, :n]
        blockwise = target[:, : whole * 2 * c].view(n, whole, 2 * c)
        blockwise.copy_(source[:whole].permute(1, 0, 2))
        if whole < blocks:
            target[:, whole * 2 * c :] = source[whole, :, : width - whole * 2 * c]
    return out


def _blocks(device: torch.device, rows: int, columns: int) -> tuple[int, int]:
    limit = (_ROWS, _COLUMNS) if device.type == "cpu" else (_GPU_BLOCK, _GPU_BLOCK)
    return min(limit[0], rows), min(limit[1], columns)


def _reflect(first: int, stop: int, size: int) -> torch.Tensor:
    """Indices of first..stop-1 mirrored at the borders (x[0] x[0] | ...); clamped further out."""
    index = torch.arange(first, stop)
    index = torch.where(index < 0, -1 - index, index)
    return torch.where(index >= size, 2 * size - 1 - index, index).clamp_(0, size - 1)


@lru_cache(maxsize=64)
def _analysis(block: int, device: torch.device) -> torch.Tensor:
    """(2 block, 2 block + 6): low-pass outputs, then high-pass outputs, of a run of samples."""
    matrix = torch.zeros(2, block, 2 * block + _BORDER, dtype=torch.float64)
    for i in range(block):
        for k in range(_TAPS):
            matrix[0, i, 2 * i + _TAPS - 1 - k] = _LOW[k]
            matrix[1, i, 2 * i + _TAPS - 1 - k] = _HIGH[k]
    return matrix.view(2 * block, -1).to(device, torch.float32)


@lru_cache(maxsize=64)
def _synthesis(block: int, device: torch.device) -> torch.Tensor:
    """(2 block, 2 (block + 3)): samples from low-pass, then high-pass coefficients."""
    reach = _BORDER // 2
    matrix = torch.zeros(2 * block, 2, block + reach, dtype=torch.float64)
    for n in range(2 * block):
        for i in range((n + 1) // 2 if n % 2 == 0 else n // 2, (n + _BORDER) // 2 + 1):
            k = 2 * i + 1 - n
            if 0 <= k < _TAPS:
                matrix[n, 0, i] = _LOW[k]
                matrix[n, 1, i] = _HIGH[k]
    return matrix.view(2 * block, -1).to(device, torch.float32)
