"""Adaptive Wiener estimate of the noise in wavelet coefficients or in a magnitude spectrum.

Mihçak, Kozintsev, Ramchandran 1999, doi:10.1109/ICASSP.1999.757535: the variance of the signal at a
coefficient is the smallest over four windows of the local energy less the noise variance.

The noise part ``x s² / (max(min_w E_w - s², 0) + s²)`` is computed as its equal
``x s² / max(min_w E_w, s²)``.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from forensics.arrays import Array, like, to_tensor

_HALO = 4  # half of the largest window
_MARGIN = 16  # lets flat shifts read before the first sample and past the last
_COLUMNS = 384  # of a tile with its halo
_AREA = 3 << 14  # samples of a tile: its seven planes fit in a core's level-2 cache
_GPU_COLUMNS, _GPU_AREA = 1 << 13, 1 << 26  # few launches matter more there

Block = tuple[slice, slice]
Load = Callable[[torch.Tensor, Block], object]
"""Writes the energies of a block of the plane into the view given."""
Store = Callable[[torch.Tensor, Block], object]
"""Takes the smallest mean energies of a block; the view is overwritten afterwards."""


def noise_part(x: Array, noise_variance: float) -> Array:
    """Noise in the coefficients ``x`` (H, W), float32; energies outside the band count as zero.

    Windows 3, 5, 7, 9. ``noise_variance`` (the square of x's unit) must be positive.
    """
    t = to_tensor(x).to(torch.float32)
    if t.ndim != 2 or not noise_variance > 0:
        raise ValueError(
            f"noise_part needs a plane and a positive noise variance, got shape {tuple(t.shape)} "
            f"and {noise_variance}"
        )
    noise = torch.zeros_like(t)
    add_noise_part(noise, t, noise_variance, 1.0)
    return like(x, noise)


def add_noise_part(
    out: torch.Tensor, x: torch.Tensor, noise_variance: float, weight: float
) -> None:
    """``out += weight * noise_part(x)``, in place: one pass for a weighted sum of channels."""

    def load(energy: torch.Tensor, block: Block) -> None:
        torch.mul(x[block], x[block], out=energy)

    def store(floor: torch.Tensor, block: Block) -> None:
        floor.clamp_min_(noise_variance)
        out[block].addcdiv_(x[block], floor, value=weight * noise_variance)

    for_each_floor(x.shape[0], x.shape[1], x.device, load, store)


def for_each_floor(height: int, width: int, device: torch.device, load: Load, store: Store) -> None:
    """Tile a plane of energies; give ``store`` the smallest of four window means at every sample.

    The windows are 3, 5, 7 and 9 wide and see zeros outside the plane. A tile is held with its halo
    in flat buffers, so that a shift by a row or a column is a shift of one contiguous vector.
    """
    limit, area = (_COLUMNS, _AREA) if device.type == "cpu" else (_GPU_COLUMNS, _GPU_AREA)
    columns = _even_split(width, limit - 2 * _HALO)
    rows = _even_split(height, area // (columns + 2 * _HALO) - 2 * _HALO)
    tile = _Tile(rows, columns, device)
    for r in range(0, height, rows):
        for c in range(0, width, columns):
            top, left = r - _HALO, c - _HALO
            bottom, right = r + rows + _HALO, c + columns + _HALO
            if top < 0 or left < 0 or bottom > height or right > width:
                tile.energy.zero_()
            block = (
                slice(max(top, 0), min(bottom, height)),
                slice(max(left, 0), min(right, width)),
            )
            load(
                tile.energy[block[0].start - top : block[0].stop - top][
                    :, block[1].start - left : block[1].stop - left
                ],
                block,
            )
            tile.run()
            inner = (slice(r, min(r + rows, height)), slice(c, min(c + columns, width)))
            store(tile.floor[: inner[0].stop - r, : inner[1].stop - c], inner)


def _even_split(size: int, limit: int) -> int:
    """Side of equal parts no longer than ``limit``."""
    return -(-size // -(-size // limit))


class _Tile:
    """Buffers of one tile and the fixed sequence of vector operations on them."""

    def __init__(self, rows: int, columns: int, device: torch.device) -> None:
        pitch = columns + 2 * _HALO
        total = (rows + 2 * _HALO) * pitch

        def buffer() -> torch.Tensor:
            return torch.zeros(total + 2 * _MARGIN, device=device)

        e, h3, h5, h7, b3, t, m = (buffer() for _ in range(7))
        self.energy = e[_MARGIN : _MARGIN + total].view(rows + 2 * _HALO, pitch)
        self.floor = m[_MARGIN : _MARGIN + total].view(rows + 2 * _HALO, pitch)
        self.floor = self.floor[_HALO : _HALO + rows, _HALO : _HALO + columns]

        def at(x: torch.Tensor, halo: int, shift: int = 0) -> torch.Tensor:
            """The rows from -halo to rows + halo, shifted."""
            start = _MARGIN + (_HALO - halo) * pitch + shift
            return x[start : start + (rows + 2 * halo) * pitch]

        # Sums as (a, b, out): out = a + b.
        self._sums_3_9 = (
            # along the rows
            (at(e, 4, -1), at(e, 4, 1), at(h3, 4)),
            (at(h3, 4), at(e, 4), at(h3, 4)),
            (at(e, 3, -2), at(e, 3, 2), at(h5, 3)),
            (at(h5, 3), at(h3, 3), at(h5, 3)),
            (at(e, 3, -3), at(e, 3, 3), at(h7, 3)),
            (at(h7, 3), at(h5, 3), at(h7, 3)),
            # 3 x 3
            (at(h3, 3, -pitch), at(h3, 3, pitch), at(b3, 3)),
            (at(b3, 3), at(h3, 3), at(b3, 3)),
            # 9 x 9: nine squares of 3 x 3
            (at(b3, 3, -3), at(b3, 3, 3), at(t, 3)),
            (at(t, 3), at(b3, 3), at(t, 3)),
            (at(t, 0, -3 * pitch), at(t, 0, 3 * pitch), at(m, 0)),
            (at(m, 0), at(t, 0), at(m, 0)),
        )
        # 5 x 5: a pair of rows above, a pair below, the middle
        self._sums_5 = (
            (at(h5, 2), at(h5, 2, pitch), at(t, 2)),
            (at(t, 0, -2 * pitch), at(t, 0, pitch), at(e, 0)),
            (at(e, 0), at(h5, 0), at(e, 0)),
        )
        # 7 x 7: a triple of rows above, a triple below, the middle
        self._sums_7 = (
            (at(h7, 2, -pitch), at(h7, 2, pitch), at(t, 2)),
            (at(t, 2), at(h7, 2), at(t, 2)),
            (at(t, 0, -2 * pitch), at(t, 0, 2 * pitch), at(e, 0)),
            (at(e, 0), at(h7, 0), at(e, 0)),
        )
        self._b3, self._m, self._e = at(b3, 0), at(m, 0), at(e, 0)

    def run(self) -> None:
        """From ``energy`` to ``floor``; ``energy`` is used up."""
        m = self._m
        for a, b, out in self._sums_3_9:
            torch.add(a, b, out=out)
        m.mul_(1 / 81)
        torch.minimum(m, self._b3.mul_(1 / 9), out=m)
        for steps, area in ((self._sums_5, 25), (self._sums_7, 49)):
            for a, b, out in steps:
                torch.add(a, b, out=out)
            torch.minimum(m, self._e.mul_(1 / area), out=m)
