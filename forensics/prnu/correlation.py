"""How much of a camera's fingerprint is in a residual: over an image, per pixel, over all shifts.

Peak-to-correlation energy: Goljan, Fridrich, Filler 2009, doi:10.1117/12.805701.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray

from forensics.arrays import Array, like, to_tensor
from forensics.boxfilter import box_mean

_NEIGHBOURHOOD = 11  # side of the square around the peak that is no floor, circular
_VANISHING = 1e-6  # variance over mean square that float32 cannot tell from zero


def ncc(a: Array, b: Array) -> float:
    """Normalised cross-correlation of two arrays of one shape, -1..1; 0 where one is constant."""
    x, y = to_tensor(a), to_tensor(b)
    if x.shape != y.shape or x.numel() == 0:
        raise ValueError(f"ncc needs two arrays of one shape, got {_shape(x)} and {_shape(y)}")
    x, y = (t.to(torch.float32) - t.to(torch.float32).mean() for t in (x, y))
    norm = float(x.norm()) * float(y.norm())
    return max(-1.0, min(1.0, float((x * y).sum()) / norm)) if norm > 0 else 0.0


def ncc_field(W: Array, Z: Array, window: int = 128, stride: int = 1) -> Array:
    """Normalised cross-correlation of ``W`` and ``Z`` (H, W) in a window around every cell.

    ``(mean(WZ) - mean(W) mean(Z)) / (std(W) std(Z))`` by five box filters. Windows and cells as in
    ``box_mean``: at the border only the pixels inside the image count. Returns float32
    (ceil(H/stride), ceil(W/stride)), -1..1; 0 where a standard deviation vanishes (is under a
    thousandth of the local level).
    """
    w, z = to_tensor(W), to_tensor(Z)
    if w.ndim != 2 or w.shape != z.shape:
        raise ValueError(f"ncc_field needs two planes of one shape, got {_shape(w)}, {_shape(z)}")
    w, z = (t.to(torch.float32) - t.to(torch.float32).mean() for t in (w, z))
    covariance = box_mean(w * z, window, stride)
    means = [box_mean(t, window, stride) for t in (w, z)]
    covariance.addcmul_(means[0], means[1], value=-1)
    squares = [box_mean(t.square_(), window, stride) for t in (w, z)]
    variances = [s.addcmul(m, m, value=-1) for s, m in zip(squares, means, strict=True)]
    there = (variances[0] > _VANISHING * squares[0]) & (variances[1] > _VANISHING * squares[1])
    for variance in variances:
        covariance.div_(variance.clamp_min_(0).sqrt_())
    field = torch.where(there, covariance, 0.0)
    return like(W, field.clamp_(-1, 1))


@dataclass(frozen=True, slots=True)
class PCE:
    """The best match of a residual with a reference pattern.

    ``pce`` is ``sign(peak) peak² / mean(cc² elsewhere)``, without unit; 0 where nothing varies.
    ``residual[y, x]`` lies on ``reference[y + dy, x + dx]`` (circular where the sizes agree).
    """

    pce: float
    peak: float  # cross-correlation at the peak over the norms of both, -1..1
    offset: tuple[int, int]  # (dy, dx) in pixels; -side/2..side/2 along an axis of equal sizes
    ncc: float  # of the residual with the part of the reference that it lies on


class Correlator:
    """One residual to be compared with many references: its spectrum is computed once per size."""

    def __init__(self, residual: NDArray[Any] | torch.Tensor) -> None:
        """``residual`` is (H, W)."""
        t = to_tensor(residual)
        if t.ndim != 2 or t.numel() == 0:
            raise ValueError(f"a residual is a plane (H, W), not {_shape(t)}")
        self._residual = t.to(torch.float32) - t.to(torch.float32).mean()
        self._norm = float(self._residual.norm())
        self._spectrum = torch.fft.rfft2(self._residual)
        self._spectrum_shape = self._residual.shape

    def pce(self, reference: NDArray[Any] | torch.Tensor, aligned_only: bool = False) -> PCE:
        """Peak-to-correlation energy against ``reference`` (K, or I·K), at least as large.

        Sizes that agree along an axis: all circular shifts are searched along it. A smaller
        residual is taken as a crop: only the shifts that keep it inside the reference are searched.
        The floor is the mean over all shifts outside the peak's circular 11x11 neighbourhood.

        Args:
            aligned_only: look at shift (0, 0) alone: for images known to be uncropped, which need
                much less of a peak than the best of millions of shifts; pce can be negative.

        Raises:
            ValueError: the reference is no plane or smaller than the residual.
        """
        t = to_tensor(reference)
        height, width = self._residual.shape
        if t.ndim != 2 or t.shape[0] < height or t.shape[1] < width:
            raise ValueError(
                f"a reference of shape {_shape(t)} cannot hold a residual of "
                f"{_shape(self._residual)}"
            )
        full = t.to(torch.float32) - t.to(torch.float32).mean()
        if full.shape != self._spectrum_shape:
            self._spectrum = torch.fft.rfft2(self._residual, s=full.shape)
            self._spectrum_shape = full.shape
        product = torch.fft.rfft2(full).mul_(self._spectrum.conj())
        cc = torch.fft.irfft(torch.fft.ifft(product, dim=0), n=full.shape[1])
        rows = full.shape[0] - height + 1 if full.shape[0] > height else height
        columns = full.shape[1] - width + 1 if full.shape[1] > width else width
        searched = cc[:1, :1] if aligned_only else cc[:rows, :columns]
        dy, dx = divmod(int(searched.argmax()), searched.shape[1])
        peak = float(cc[dy, dx])
        near = cc[_around(dy, cc.shape[0], cc.device)[:, None], _around(dx, cc.shape[1], cc.device)]
        outside = cc.numel() - near.numel()
        floor = float(cc.square_().sum()) - float(near.square().sum())
        dy = dy - height if full.shape[0] == height and dy > height // 2 else dy
        dx = dx - width if full.shape[1] == width and dx > width // 2 else dx
        norm = self._norm * float(full.norm())
        if not norm > 0 or outside == 0 or not floor > 0:
            return PCE(0.0, 0.0, (dy, dx), 0.0)
        under = full.roll((-dy, -dx), (0, 1))[:height, :width]
        return PCE(
            pce=peak * abs(peak) * outside / floor,
            peak=peak / norm,
            offset=(dy, dx),
            ncc=ncc(self._residual, under),
        )


def pce(
    residual: NDArray[Any] | torch.Tensor,
    reference: NDArray[Any] | torch.Tensor,
    aligned_only: bool = False,
) -> PCE:
    """``Correlator(residual).pce(reference)``: one residual against one reference."""
    return Correlator(residual).pce(reference, aligned_only)


def _around(centre: int, size: int, device: torch.device) -> torch.Tensor:
    """Circular neighbourhood of an index, every index once."""
    side = min(_NEIGHBOURHOOD, size)
    return torch.arange(centre - side // 2, centre - side // 2 + side, device=device) % size


def _shape(x: torch.Tensor) -> tuple[int, ...]:
    return tuple(x.shape)
