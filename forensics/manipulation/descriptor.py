"""The residual descriptor: how often which four neighbouring residuals occur together.

One of the models of SRM (Fridrich, Kodovský 2012, doi:10.1109/TIFS.2012.2190402) as Cozzolino,
Poggi and Verdoliva 2017 (doi:10.1145/3082031.3083247, section 2) use it: residuals of the filter
[1, −3, 3, −1], quantised to `LEVELS` levels at a step of `STEP` grey levels, coded `RUN` in a row
across and along the filter. The image and its transpose are counted together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from forensics.arrays import Array, like, to_tensor
from forensics.manipulation.windows import Axis, piece_index, window_sums

FILTER = (1, -3, 3, -1)
LEVELS = 3
STEP = 4.5  # grey levels
RUN = 4
HALF: int = LEVELS**RUN
BINS: int = 2 * HALF
SUPPORT: int = len(FILTER) + RUN - 1  # pixels that a code along the filter spans

Codes = Callable[[Tensor], Sequence[tuple[Tensor, Tensor]]]
"""Of a stack (1, H, W), codes in pairs that are counted together."""

_BAND = 32  # rows of windows whose histograms are made at once
_PATCHES = 64  # the same for patches


def srm_histogram(patches: Array) -> Array:
    """Counts of the 162 bins, int64 (..., 162).

    The first 81 count codes across the filter, (H − 3)(W − 3) in the image and as many in its
    transpose; the others count codes along it, H(W − 6) and W(H − 6). A code is
    ``27 q₁ + 9 q₂ + 3 q₃ + q₄``, the first residual being the uppermost or leftmost, with
    ``q = clamp(round(r / STEP), −1, 1) + 1``; residuals are those whose filter lies in the patch.

    Args:
        patches: uint8 (..., H, W), one channel (the paper takes green); H and W at least 7.

    Raises:
        ValueError: another dtype, or smaller.
    """
    pixels = _checked(to_tensor(patches))
    stack = pixels.reshape(-1, *pixels.shape[-2:])
    counts = torch.cat([_counts(part) for part in torch.split(stack, _PATCHES)])
    return like(patches, counts.reshape(*pixels.shape[:-2], BINS))


def frequencies(counts: Array) -> Array:
    """float32 (..., 162): each half of the counts divided by its sum."""
    tensor = to_tensor(counts)
    halves = tensor.reshape(*tensor.shape[:-1], 2, HALF).to(torch.float64)
    shares = halves / halves.sum(-1, keepdim=True)
    return like(counts, shares.flatten(-2).to(torch.float32))


def dense_histogram(plane: Array, window: int, stride: int) -> Array:
    """Counts of every window, int32 (rows, columns, 162), without counting a pixel per window.

    Entry (i, j) is `srm_histogram` of the window whose corner is ``(top + i*stride,
    left + j*stride)``, with the corner and the counts of `windows.Axis`.

    Args:
        plane: uint8 (H, W), at least the window.
        window: side in pixels, at least 7.
        stride: pixels between windows.

    Raises:
        ValueError: another dtype or shape, a window below 7 or above the image.
    """
    return like(plane, _dense(to_tensor(plane), window, stride, _codes, BINS))


def dense_cooccurrences(levels: Array, window: int, stride: int) -> Array:
    """Counts of the 81 codes of four neighbours in rows and columns, int32 (rows, columns, 81).

    The same for a plane that is a residual already, quantised to `LEVELS` levels.

    Args:
        levels: uint8 (H, W), 0..2.
        window: as for `dense_histogram`.
        stride: as for `dense_histogram`.

    Raises:
        ValueError: as `dense_histogram`, or other levels.
    """
    pixels = to_tensor(levels)
    if pixels.numel() and int(pixels.max()) >= LEVELS:
        raise ValueError(f"levels are 0 to {LEVELS - 1}, not up to {int(pixels.max())}")
    return like(levels, _dense(pixels, window, stride, _runs, HALF))


def _dense(plane: Tensor, window: int, stride: int, codes: Codes, bins: int) -> Tensor:
    pixels = _checked(plane)
    if pixels.ndim != 2 or window < SUPPORT:
        raise ValueError(
            f"needs (H, W) and a window of at least {SUPPORT} px, got {tuple(pixels.shape)} and "
            f"{window} px"
        )
    rows, columns = (Axis.of(size, window, stride) for size in pixels.shape)
    out = torch.empty(rows.count, columns.count, bins, dtype=torch.int32, device=pixels.device)
    right = columns.covered(window, stride).stop
    for start in range(0, rows.count, _BAND):
        stop = min(start + _BAND, rows.count)
        top = rows.first + start * stride
        bottom = rows.first + (stop - 1) * stride + window
        band = codes(pixels[top:bottom, columns.first : right][None])
        out[start:stop] = _band(band, window, stride, stop - start, columns.count)
    return out


def _counts(stack: Tensor) -> Tensor:
    number = torch.arange(len(stack), device=stack.device)[:, None, None]
    halves = []
    for codes in _codes(stack):
        counts: Tensor | int = 0
        for code in codes:
            counts = counts + torch.bincount(
                (code + HALF * number).flatten(), minlength=HALF * len(stack)
            )
        halves.append(torch.as_tensor(counts).reshape(len(stack), HALF))
    return torch.cat(halves, 1)


def _band(
    codes: Sequence[tuple[Tensor, Tensor]], window: int, stride: int, rows: int, columns: int
) -> Tensor:
    side = (rows - 1) * stride + window, (columns - 1) * stride + window
    halves = []
    for pair in codes:
        counts: Tensor | int = 0
        for code in pair:
            extent = [
                window - (whole - part) for whole, part in zip(side, code.shape[1:], strict=True)
            ]
            down, across = (
                piece_index(length, e, stride).to(code.device)
                for length, e in zip(code.shape[1:], extent, strict=True)
            )
            grid = int(down[-1]) + 1, int(across[-1]) + 1
            place = (down[:, None] * grid[1] + across) * HALF
            sums = torch.bincount((code[0] + place).flatten(), minlength=grid[0] * grid[1] * HALF)
            sums = sums.to(torch.int32).reshape(*grid, HALF)
            sums = window_sums(sums, extent[0], stride, rows, 0)
            counts = counts + window_sums(sums, extent[1], stride, columns, 1)
        halves.append(torch.as_tensor(counts))
    return torch.cat(halves, -1)


def _codes(stack: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """int64 codes (N, h, w) across the filter, of image and transpose, and those along it."""
    horizontal, vertical = _levels(stack, 2), _levels(stack, 1)
    return (
        (_run(horizontal, 1), _run(vertical, 2)),
        (_run(horizontal, 2), _run(vertical, 1)),
    )


def _runs(stack: Tensor) -> tuple[tuple[Tensor, Tensor]]:
    """int64 codes (1, h, w) of levels that lie side by side, and of those below each other."""
    return ((_run(stack, 2), _run(stack, 1)),)


def _levels(stack: Tensor, dim: int) -> Tensor:
    """Quantised residuals of the filter along ``dim``, uint8 0..2."""
    taps = _shifted(stack.to(torch.int16), dim, len(FILTER))
    residual = sum((tap * weight for tap, weight in zip(taps, FILTER, strict=True)), taps[0] * 0)
    # Residuals are whole numbers, so none lies on a threshold.
    return 1 + (residual > STEP / 2).to(torch.uint8) - (residual < -STEP / 2).to(torch.uint8)


def _run(levels: Tensor, dim: int) -> Tensor:
    """The levels of `RUN` neighbours along ``dim`` as one number to the base `LEVELS`."""
    first, *others = _shifted(levels, dim, RUN)
    for level in others:
        first = first * LEVELS + level  # at most 80, so uint8 is enough
    return first.to(torch.int64)


def _shifted(x: Tensor, dim: int, count: int) -> list[Tensor]:
    length = x.shape[dim] - count + 1
    return [x.narrow(dim, start, length) for start in range(count)]


def _checked(pixels: Tensor) -> Tensor:
    if pixels.dtype != torch.uint8 or pixels.ndim < 2 or min(pixels.shape[-2:]) < SUPPORT:
        raise ValueError(
            f"needs uint8 (..., H, W) with H, W >= {SUPPORT}, got {pixels.dtype} "
            f"{tuple(pixels.shape)}"
        )
    return pixels
