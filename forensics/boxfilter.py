"""Means over square windows, the workhorse of every dense map.

Prefix sums (Crow 1984, doi:10.1145/800031.808600) taken one axis at a time and in double precision,
so that the cost does not depend on the window and large means do not eat the digits.
"""

from __future__ import annotations

import math

import torch

from forensics.arrays import Array, like, to_tensor

_STRIP = 64  # lanes whose prefix sums are held at once: the temporaries stay in cache
_BLOCK = 16  # samples added in the input's own precision before double precision takes over


def box_mean(x: Array, window: int, stride: int = 1) -> Array:
    """Mean of ``x`` in a window around every cell, over the samples that lie inside the image.

    Args:
        x: (..., H, W), any real dtype; integers are read as float32.
        window: side in pixels, at least 1, odd or even, may exceed the image.
        stride: side of a cell in pixels, at least 1.

    Returns:
        (..., ceil(H/stride), ceil(W/stride)), float32 (float64 for float64 input). The window of
        cell i is centred at ``c = min(i*stride + stride//2, H - 1)`` and covers
        ``[c - window//2, c - window//2 + window)``, cut to the image; columns alike.

    Raises:
        ValueError: fewer than two axes, an empty axis, window or stride below 1.
    """
    t = to_tensor(x)
    if t.ndim < 2 or 0 in t.shape[-2:]:
        raise ValueError(f"box_mean needs (..., H, W) with H, W > 0, got shape {tuple(t.shape)}")
    if window < 1 or stride < 1:
        raise ValueError(f"window and stride must be at least 1, got {window} and {stride}")
    if not t.dtype.is_floating_point or t.dtype.itemsize < 4:
        t = t.to(torch.float32)
    planes = t.reshape(-1, *t.shape[-2:])
    means = _mean_rows(_mean_rows(planes, window, stride).mT, window, stride).mT
    return like(x, means.reshape(*t.shape[:-2], *means.shape[-2:]).contiguous())


def _mean_rows(x: torch.Tensor, window: int, stride: int) -> torch.Tensor:
    """The same along the second axis of (N, H, W) alone: (N, ceil(H/stride), W)."""
    height = x.shape[1]
    cells = -(-height // stride)
    centre = torch.arange(cells) * stride + stride // 2
    ragged = int(centre[-1]) > height - 1  # the last centre leaves the regular grid
    centre.clamp_(max=height - 1)
    low = (centre - window // 2).clamp(min=0)
    high = (centre - window // 2 + window).clamp(max=height)
    # All bounds but those of a ragged cell are phase + k*step: prefix sums are needed only there.
    shared = math.gcd(stride, window)
    step = max(d for d in range(1, _BLOCK + 1) if shared % d == 0)
    phase = min((stride // 2 - window // 2) % step, height)

    def index(bound: torch.Tensor) -> torch.Tensor:
        inside = torch.div(bound - phase + step - 1, step, rounding_mode="floor") + 1
        return torch.where(bound == 0, 0, inside).to(x.device)

    first, last = index(low), index(high)
    count = (high - low).to(x.device, torch.float64)[:, None]
    out = x.new_empty(x.shape[0], cells, x.shape[2])
    for j in range(0, x.shape[2], _STRIP):
        strip = x[:, :, j : j + _STRIP]
        prefix = _block_sums(strip, phase, step).cumsum_(1)
        sums = prefix.index_select(1, last).sub_(prefix.index_select(1, first))
        if ragged:
            sums[:, -1] = strip[:, int(low[-1]) : int(high[-1])].sum(1, dtype=torch.float64)
        out[:, :, j : j + _STRIP] = sums.div_(count)
    return out


def _block_sums(x: torch.Tensor, phase: int, step: int) -> torch.Tensor:
    """(0, sum of rows [0, phase), sums of each following ``step`` rows, the rest), float64."""
    n, height, width = x.shape
    whole = (height - phase) // step
    end = phase + whole * step
    sums = torch.zeros(n, whole + 2 + (end < height), width, dtype=torch.float64, device=x.device)
    sums[:, 1] = x[:, :phase].sum(1)
    blocks = x[:, phase:end]
    sums[:, 2 : whole + 2] = blocks.reshape(n, whole, step, width).sum(2) if step > 1 else blocks
    if end < height:
        sums[:, -1] = x[:, end:].sum(1)
    return sums
