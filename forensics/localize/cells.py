"""Means over the cells of a map's grid."""

from __future__ import annotations

import torch
from torch.nn.functional import avg_pool2d

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
    planes = t.reshape(-1, 1, *t.shape[-2:])
    means = avg_pool2d(planes, side, ceil_mode=True, count_include_pad=False)
    return like(x, means.reshape(*t.shape[:-2], *means.shape[-2:]))
