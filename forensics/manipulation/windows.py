"""Sums over a sliding window, and where the windows lie in an image."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Axis:
    """Windows along one side of an image: they begin at ``first + k * stride``, k < count."""

    first: int  # pixels
    count: int
    nearest: Tensor  # int64 (ceil(size/stride),): for each cell, the window that stands for it

    @classmethod
    def of(cls, size: int, window: int, stride: int) -> Axis:
        """Windows centred on the cells as in `boxfilter.box_mean`, those that fit alone.

        The other cells take the nearest of them; where no cell's window fits, all take the last
        that does. Raises `ValueError` for an image smaller than the window and a stride below 1.
        """
        if stride < 1 or not 1 <= window <= size:
            raise ValueError(f"no window of {window} px at a stride of {stride} in {size} px")
        begin = torch.arange(-(-size // stride)) * stride + stride // 2 - window // 2
        first = min(int(begin[0]) % stride, size - window)
        last = (size - window - first) // stride
        return cls(first, last + 1, ((begin - first) // stride).clamp(0, last))

    def covered(self, window: int, stride: int) -> slice:
        """All that lies in a window."""
        return slice(self.first, self.first + (self.count - 1) * stride + window)


def to_cells(values: Tensor, rows: Axis, columns: Axis) -> Tensor:
    """From (rows.count, columns.count, ...) windows to the cells of the image."""
    down, across = (axis.nearest.to(values.device) for axis in (rows, columns))
    return values.index_select(0, down).index_select(1, across)


def pieces(x: Tensor, extent: int, stride: int, dim: int) -> Tensor:
    """Sums along ``dim`` of the pieces that windows of ``extent`` are made of.

    A window begins at a multiple of the stride and ends ``extent % stride`` after another, so the
    stretches between those bounds are summed once; n positions give about 2n/stride pieces. For
    floating point.
    """
    before, after = x.shape[:dim], x.shape[dim + 1 :]
    steps = -(-x.shape[dim] // stride)
    if missing := steps * stride - x.shape[dim]:
        x = torch.cat([x, x.new_zeros(*before, missing, *after)], dim)
    rest = extent % stride
    place = torch.arange(stride, device=x.device)
    parts = torch.stack([place < rest, place >= rest] if rest else [place >= 0]).to(x.dtype)
    # As products of matrices: sums over so few neighbours are slow.
    if after:
        sums = parts @ x.reshape(*before, steps, stride, after.numel())
    else:
        sums = x.reshape(*before, steps, stride) @ parts.mT
    return sums.reshape(*before, steps * len(parts), *after)


def piece_index(size: int, extent: int, stride: int) -> Tensor:
    """int64 (size,): the number of the piece that a position falls into."""
    position = torch.arange(size)
    rest = extent % stride
    if not rest:
        return position // stride
    return 2 * (position // stride) + (position % stride >= rest)


def window_sums(sums: Tensor, extent: int, stride: int, count: int, dim: int) -> Tensor:
    """Sums over ``count`` windows from those of their pieces, along ``dim``.

    float64 for floating point; int32 for whole numbers, whose sum must stay below 2³¹.
    """
    exact = torch.float64 if sums.dtype.is_floating_point else torch.int32
    per_step = 2 if extent % stride else 1
    width = per_step * (extent // stride) + per_step - 1
    prefix = sums.movedim(dim, 0).cumsum(0, dtype=exact)
    prefix = torch.cat([torch.zeros_like(prefix[:1]), prefix])
    begin = torch.arange(count, device=sums.device) * per_step
    return (prefix[begin + width] - prefix[begin]).movedim(0, dim)
