"""Dense prediction: what a window network says at every cell, without repeating a convolution.

Convolutions run once over the image. Pooling would keep every other window only, so where windows
between are wanted each pool is taken at its four offsets and the fragments are interleaved at the
end (Giusti, Cireşan, Masci, Gambardella, Schmidhuber 2013, doi:10.1109/ICIP.2013.6738831). Each
fragment is a quarter the size, so the work per pixel does not depend on the window.
"""

from __future__ import annotations

from math import gcd

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad

from forensics.prnu.predictors.network import POOL, STEP, CorrelationNetwork

_TILE = 512  # pixels; larger ones repeat less at their seams and take more memory
_HEAD_ELEMENTS = 1 << 22  # of the fully connected layer's output at once


def dense(network: CorrelationNetwork, rgb: Tensor, stride: int) -> Tensor:
    """Prediction for the window of every cell, float32 (ceil(H/stride), ceil(W/stride)).

    The window of cell i is placed as in `boxfilter.box_mean`; where it does not fit into the image
    the cell takes the value of the nearest cell whose window does. An image between whose borders
    no cell's window fits gives its last window to all.

    Work is done in tiles, so that little grows with the image: about 150 MB where no fragments are
    needed and 300 MB where they are (120 and 700 bytes per pixel of a tile), and 8 bytes per cell.

    Args:
        network: weights on the device where the work is done.
        rgb: uint8 (H, W, 3).
        stride: side of a cell in pixels. Multiples of 8 need no fragments and cost the least; odd
            strides cost as much as 1.

    Raises:
        ValueError: an image smaller than the window, stride below 1, not uint8 (H, W, 3).
    """
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != torch.uint8:
        raise ValueError(f"dense needs uint8 (H, W, 3), got {rgb.dtype} {tuple(rgb.shape)}")
    if stride < 1:
        raise ValueError(f"stride must be at least 1, got {stride}")
    height, width = rgb.shape[:2]
    if min(height, width) < network.window:
        raise ValueError(
            f"an image of {width}x{height} px is smaller than the window of {network.window} px"
        )
    (top, rows), (left, columns) = (
        _nearest(size, network.window, stride) for size in (height, width)
    )
    maps = windows(network, rgb[top:, left:], stride)
    rows, columns = rows.to(maps.device), columns.to(maps.device)
    return maps.index_select(0, rows).index_select(1, columns)


@torch.inference_mode()
def windows(network: CorrelationNetwork, rgb: Tensor, stride: int) -> Tensor:
    """Prediction for the windows whose top-left corners are multiples of ``stride``.

    float32 ((H − w) // stride + 1, (W − w) // stride + 1) for uint8 (H, W, 3), H and W at least w.
    """
    shared = gcd(stride, STEP)
    unit = stride if shared == STEP else shared  # pixels between the windows that are computed
    fragments = STEP // shared
    keep = stride // unit
    room = [(size - network.window) // stride * keep + 1 for size in rgb.shape[:2]]
    parts = max(1, _TILE * (2 if fragments == 1 else 1) // unit)
    device = network.output_scale.device
    out = torch.empty(room[0], room[1], device=device)
    for top, bottom in _pieces(room[0], parts, fragments):
        for left, right in _pieces(room[1], parts, fragments):
            tile = _cut(network, rgb, unit, fragments, (top, bottom), (left, right)).to(device)
            values = _tile(network, tile, shared, unit // shared if fragments == 1 else 1)
            out[top:bottom, left:right] = values[: bottom - top, : right - left]
    return out[::keep, ::keep]


def _nearest(size: int, window: int, stride: int) -> tuple[int, Tensor]:
    """Where the first window that fits begins; for each cell, which of those that fit it takes."""
    begin = torch.arange(-(-size // stride)) * stride + stride // 2 - window // 2
    first = min(int(begin[0]) % stride, size - window)
    last = (size - window - first) // stride
    return first, ((begin - first) // stride).clamp(0, last)


def _pieces(count: int, parts: int, multiple: int) -> list[tuple[int, int]]:
    """Nearly equal ranges that cover 0..count, at most ``parts`` long, but for rounding up."""
    pieces = -(-count // parts)
    length = -(-count // pieces)
    length = -(-length // multiple) * multiple
    return [(start, min(start + length, count)) for start in range(0, count, length)]


def _cut(
    network: CorrelationNetwork,
    rgb: Tensor,
    unit: int,
    fragments: int,
    rows: tuple[int, int],
    columns: tuple[int, int],
) -> Tensor:
    """Pixels (1, 3, h, w) under the windows, rounded up so that all fragments have one size."""
    slices, missing = [], []
    for (start, stop), size in zip((rows, columns), rgb.shape[:2], strict=True):
        count = -(-(stop - start) // fragments) * fragments
        end = (start + count - 1) * unit + network.window
        slices.append(slice(start * unit, min(end, size)))
        missing.append(max(end - size, 0))
    pixels = rgb[slices[0], slices[1]].movedim(-1, 0)[None]
    return pad(pixels, (0, missing[1], 0, missing[0])) if any(missing) else pixels


def _tile(network: CorrelationNetwork, pixels: Tensor, shared: int, step: int) -> Tensor:
    """Predictions of the windows of a tile, ``shared`` pixels apart, or ``step`` times STEP."""
    x = network.normalised(pixels).contiguous(memory_format=torch.channels_last)
    splits = 0
    for level, stage in enumerate(network.stages):
        x = stage(x)
        if POOL**level < shared:
            x = avg_pool2d(x, POOL)
        else:
            offsets = [(i, j) for i in range(POOL) for j in range(POOL)]
            x = torch.cat([avg_pool2d(x[:, :, i:, j:], POOL) for i, j in offsets])
            splits += 1
    per_fragment = network.settings.hidden * x.shape[2] * x.shape[3]
    batches = torch.split(x, max(1, _HEAD_ELEMENTS // per_fragment))
    return _interleave(torch.cat([network.head(batch, step) for batch in batches]), splits)


def _interleave(maps: Tensor, splits: int) -> Tensor:
    """(4^splits, h, w) fragments, the last split slowest, to (2^splits h, 2^splits w)."""
    height, width = maps.shape[1:]
    maps = maps.reshape(*[POOL] * (2 * splits), height, width)
    rows = [2 * splits, *range(0, 2 * splits, 2)]
    columns = [2 * splits + 1, *range(1, 2 * splits, 2)]
    return maps.permute(*rows, *columns).reshape(height * POOL**splits, width * POOL**splits)
