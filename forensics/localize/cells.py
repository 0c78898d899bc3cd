"""Sums and means over the square cells of a grid: maps, and what regions of any shape add up to."""

from __future__ import annotations

import torch

from forensics.arrays import Array, like, to_tensor


def cell_means(x: Array, side: int) -> Array:
    """Mean over every ``side`` x ``side`` cell, the last ones over what is inside the image.

    Args:
        x: (..., H, W), any real dtype; integers are read as float32.
        side: of a cell in pixels, at least 1.

    Returns:
        (..., ceil(H/side), ceil(W/side)), float32 (float64 for float64 input).

    Raises:
        ValueError: fewer than two axes, an empty axis, side below 1.
    """
    t = to_tensor(x)
    if t.ndim < 2 or 0 in t.shape or side < 1:
        raise ValueError(f"no cells of {side} px in an array of shape {tuple(t.shape)}")
    if not t.dtype.is_floating_point or t.dtype.itemsize < 4:
        t = t.to(torch.float32)
    pixels = cell_pixels(int(t.shape[-2]), int(t.shape[-1]), side).to(t.device)
    return like(x, cell_sums(t, side) / pixels)


def cell_sums(x: torch.Tensor, cell: int, axes: tuple[int, int] = (-2, -1)) -> torch.Tensor:
    """Sums over ``cell`` x ``cell`` squares; at the border, over what is inside.

    Args:
        x: any shape; ``axes`` are its rows and columns.
        cell: side in samples, at least 1.

    Returns:
        The same with ceil(H/cell) rows and ceil(W/cell) columns; int32 for integers.
    """
    for axis in axes:
        x = _sums(x, cell, axis % x.ndim)
    return x


def cell_pixels(height: int, width: int, cell: int) -> torch.Tensor:
    """How many pixels each cell has: int64 (ceil(height/cell), ceil(width/cell))."""
    sides = [(size - torch.arange(0, size, cell)).clamp(max=cell) for size in (height, width)]
    return torch.outer(*sides)


def cells_at(size: int, stride: int, cell: int) -> torch.Tensor:
    """Cells that hold the centre pixels of a map's cells, along one axis: (ceil(size/stride),).

    Args:
        size: pixels along the axis.
        stride: side of the map's cells in pixels.
        cell: side of the cells that are asked for.
    """
    centres = torch.arange(0, size, stride) + stride // 2
    return centres.clamp(max=size - 1) // cell


def _sums(x: torch.Tensor, cell: int, axis: int) -> torch.Tensor:
    # Adding whole lanes: several times faster than a pooling layer or a reduction of short runs.
    lanes = (slice(None),) * axis
    dtype = x.dtype if x.dtype.is_floating_point else torch.int32
    if cell == 1:
        return x.to(dtype)
    total = x[(*lanes, slice(0, None, cell))].to(dtype, copy=True)
    for shift in range(1, min(cell, x.shape[axis])):
        lane = x[(*lanes, slice(shift, None, cell))]
        total.narrow(axis, 0, lane.shape[axis]).add_(lane)
    return total
