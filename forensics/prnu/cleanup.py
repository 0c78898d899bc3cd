"""Removes from a residual or a fingerprint what cameras of one model share.

Chen, Fridrich, Goljan, Lukáš 2008, doi:10.1109/TIFS.2007.916285, section V; the numbers are those
of polimi-ispl/prnu-python.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from forensics.arrays import Array, like, to_tensor
from forensics.prnu.shrinkage import Block, for_each_floor

_HALO = 4  # half of the filter's largest window
_SLICE = 24, 64  # columns, rows transformed at once
_SMALL = 32  # a side below which the whole spectrum is filtered, not a half

Energies = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def zero_mean_total(x: Array) -> Array:
    """``x`` (H, W) with zero mean in every row and column of its four 2x2-polyphase lattices.

    Removes what the colour mosaic, the read-out and the 8x8 JPEG grid leave in every image of a
    camera model. Returns float32.
    """
    return like(x, centre_(_plane(x).clone()))


def wiener_dft(x: Array) -> Array:
    """``x`` (H, W) with the peaks of its spectrum flattened, float32.

    Adaptive Wiener filter (windows 3, 5, 7, 9) on ``|F| / sqrt(HW)`` with the variance of ``x``
    (ddof 1) as the noise. As in the reference, the windows do not wrap around the spectrum: they
    see zeros beyond row and column 0. Zeros give zeros.
    """
    return like(x, flatten_spectrum_(_plane(x).clone()))


def _plane(x: Array) -> torch.Tensor:
    plane = to_tensor(x)
    if plane.ndim != 2 or plane.numel() == 0:
        raise ValueError(f"expected a plane (H, W), got shape {tuple(plane.shape)}")
    return plane.to(torch.float32)


def centre_(x: torch.Tensor) -> torch.Tensor:
    """``zero_mean_total`` in place: one product of rank 4 subtracts all row and column means."""
    rows, columns = (
        (torch.arange(n, device=x.device)[:, None] % 2 == torch.arange(2, device=x.device)).to(x)
        for n in x.shape
    )  # (n, 2): which lattice
    row_average = (rows / rows.sum(0).clamp(min=1)).T
    column_average = columns / columns.sum(0).clamp(min=1)
    row_means = x @ column_average  # (H, 2): of row i in the columns of each parity
    column_means = row_average @ x - row_average @ row_means @ columns.T  # (2, W)
    left, right = torch.cat([row_means, rows], 1), torch.cat([columns.T, column_means])
    return x.addmm_(left, right, alpha=-1)


def flatten_spectrum_(x: torch.Tensor) -> torch.Tensor:
    """``wiener_dft`` of a float32 tensor in place."""
    height, width = x.shape
    spectrum = torch.fft.rfft2(x)
    if not _filter(spectrum, width):
        return x.zero_()
    # The inverse by slices that fit in cache takes half the time of irfft2, and no memory.
    columns, rows = _SLICE if x.device.type == "cpu" else (width, height)
    for c in range(0, spectrum.shape[1], columns):
        part = spectrum[:, c : c + columns]
        part.copy_(torch.fft.ifft(part.contiguous(), dim=0))
    for r in range(0, height, rows):
        x[r : r + rows] = torch.fft.irfft(spectrum[r : r + rows], n=width)
    return x


def _filter(spectrum: torch.Tensor, width: int) -> bool:
    """Apply the gain to the half spectrum (H, width//2 + 1) in place; False where all is zero."""
    height, half = spectrum.shape
    small = min(height, width) < _SMALL
    energy = torch.empty(height, half if small else half + _HALO, device=spectrum.device)
    own = energy[:, :half]
    torch.mul(spectrum.real, spectrum.real, out=own)
    own.addcmul_(spectrum.imag, spectrum.imag).mul_(1 / (height * width))
    constant = own[0, 0].clone()
    own[0, 0] = 0.0  # so that the sum keeps its digits beside a large mean
    total = own.sum() + own[:, 1 : width - half + 1].sum()
    own[0, 0] = constant
    variance = float(total) / max(height * width - 1, 1)
    if not variance > 0:
        return False

    def energies(rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
        """Of the whole spectrum, as |F(-k, -l)| = |F(k, l)|; columns rise, or wrap to 0."""
        mirrored = width - columns[columns >= half]
        parts = [
            own[rows[:, None], columns[columns < half]],
            own[-rows[:, None] % height, mirrored],
        ]
        return torch.cat(parts if columns[0] < half else parts[::-1], 1)

    rows = torch.arange(height, device=spectrum.device)
    if small:
        columns = torch.arange(width, device=spectrum.device)
        spectrum *= _symmetric_gain(energies(rows, columns), variance)[:, :half]
        return True
    beyond = torch.arange(half, half + _HALO, device=spectrum.device)
    energy[:, half:] = energies(rows, beyond)

    def load(out: torch.Tensor, block: Block) -> None:
        out.copy_(energy[block])

    def store(floor: torch.Tensor, block: Block) -> None:
        block = (block[0], slice(block[1].start, min(block[1].stop, half)))
        floor = floor[:, : max(block[1].stop - block[1].start, 0)]
        spectrum[block].mul_(variance / floor.clamp_min_(variance))

    for_each_floor(height, half + _HALO, spectrum.device, load, store)
    _correct_border(spectrum, energies, width, variance)
    return True


def _gain(energy: torch.Tensor, variance: float) -> torch.Tensor:
    gain = torch.empty_like(energy)

    def load(out: torch.Tensor, block: Block) -> None:
        out.copy_(energy[block])

    def store(floor: torch.Tensor, block: Block) -> None:
        torch.div(variance, floor.clamp_min_(variance), out=gain[block])

    for_each_floor(energy.shape[0], energy.shape[1], energy.device, load, store)
    return gain


# The windows are cut at row and column 0, so the gain G is not symmetric there, and the reference's
# real part of the inverse transform amounts to the gain (G(k, l) + G(-k, -l)) / 2. In the mirrored
# layout, the rows run 1, 2, ..., H-1, 0 and the columns alike, and the windows are cut there.


def _symmetric_gain(energy: torch.Tensor, variance: float) -> torch.Tensor:
    mirrored = _gain(energy.roll((-1, -1), (0, 1)), variance).roll((1, 1), (0, 1))
    return (_gain(energy, variance) + mirrored) / 2


def _correct_border(
    spectrum: torch.Tensor, energies: Energies, width: int, variance: float
) -> None:
    """Turn the gain G, already applied, into the symmetric one where the two differ."""
    height, half = spectrum.shape
    device = spectrum.device

    def gain(rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
        return _gain(energies(rows % height, columns % width), variance)

    def span(first: int, stop: int) -> torch.Tensor:
        return torch.arange(first, stop, device=device)

    near, reach = _HALO + 1, 2 * _HALO + 1  # lines that differ; lines that they depend on
    rows = span(0, height)
    applied = gain(rows, span(0, reach))[:, :near]
    column_0 = gain(rows + 1, span(width - _HALO, width + 1))[:, -1:]
    columns = gain(rows + 1, span(1, reach))[:, :_HALO]
    mirrored = torch.cat([column_0, columns], 1).roll(1, 0)
    spectrum[:, :near] *= (1 + mirrored / applied) / 2

    across = span(1, half + _HALO)
    top = gain(span(0, reach), across)[:near]
    bottom = gain(span(height - reach + 1, height), across)[_HALO:]
    top_mirrored = gain(span(1, reach), across)[:_HALO]
    bottom_mirrored = gain(span(height - reach + 1, height + 1), across)[_HALO:]
    applied = torch.cat([bottom, top])  # rows -4..4
    mirrored = torch.cat([bottom_mirrored, top_mirrored])
    lines = span(-_HALO, near) % height
    factor = ((1 + mirrored / applied) / 2)[:, near - 1 : half - 1]
    spectrum[lines, near:] = spectrum[lines, near:] * factor
