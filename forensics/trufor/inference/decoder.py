"""Both heads at once, with nothing wider than a strip at the finest scale."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate, linear

from forensics.trufor.decoder import MlpDecoder
from forensics.trufor.inference.strips import block_diagonal, strips
from forensics.trufor.noiseprint import affine


class Decoders:
    """Trained `MlpDecoder`s on the same maps, for inference.

    Between a map and the ReLU of a head everything is linear, and bilinear enlargement commutes
    with what acts on each pixel alone: projection, its part of the fusing layer and the batch norm
    become one matrix per scale, applied at that scale.
    """

    def __init__(self, heads: Sequence[MlpDecoder]) -> None:
        parts = [_composed(head) for head in heads]
        self._scales = [torch.cat(weights) for weights in zip(*(w for w, _ in parts), strict=True)]
        self._bias = torch.cat([bias for _, bias in parts])
        self._predict = block_diagonal(head.linear_pred.weight.flatten(1) for head in heads)
        predictions: list[Any] = [head.linear_pred for head in heads]
        self._predict_bias = torch.cat([layer.bias for layer in predictions])

    def __call__(self, maps: Sequence[Tensor]) -> Tensor:
        """Maps (1, h, w, C), finest first, to the outputs of all heads, (1, n, h, w)."""
        finest = maps[0]
        height, width = finest.shape[1:3]
        out = finest.new_empty(1, height, width, len(self._predict_bias))
        for rows in strips(height, width * len(self._bias), finest.device):
            x = linear(finest[:, rows], self._scales[0], self._bias)
            for coarse, weight in zip(maps[1:], self._scales[1:], strict=True):
                x += _enlarged_rows(coarse, weight, rows, height, width)
            out[:, rows] = linear(x.relu_(), self._predict, self._predict_bias)
        return out.permute(0, 3, 1, 2)


def _composed(head: MlpDecoder) -> tuple[list[Tensor], Tensor]:
    """One matrix per scale, finest first, and the bias: all of a head before its ReLU."""
    layers: Any = head.linear_fuse
    fuse, norm, _ = layers
    scale, shift = affine(norm)
    bias: Tensor = fuse.bias
    weights = []
    slices = fuse.weight.flatten(1).chunk(head.scales, dim=1)  # coarsest first
    for number, part in zip(range(1, head.scales + 1), reversed(slices), strict=True):
        projection = head.projection(number)
        product = part.double() @ projection.weight.double()
        weights.append((scale[:, None] * product).to(part.dtype))
        bias = bias + part @ projection.bias
    return weights, bias * scale + shift


def _enlarged_rows(x: Tensor, weight: Tensor, rows: slice, height: int, width: int) -> Tensor:
    """Rows of ``linear(x, weight)`` enlarged to (height, width), bilinear without align_corners."""
    ratio = x.shape[1] / height
    place = torch.arange(rows.start, rows.stop, dtype=torch.float64).add_(0.5).mul_(ratio).sub_(0.5)
    place.clamp_(min=0)
    above = place.long().clamp_(max=x.shape[1] - 1)
    below = (above + 1).clamp_(max=x.shape[1] - 1)
    first, last = int(above[0]), int(below[-1])
    near = linear(x[:, first : last + 1], weight)
    part = (place - above).to(near.dtype).to(x.device)[:, None, None]
    above, below = (above - first).to(x.device), (below - first).to(x.device)
    lines = torch.lerp(near[:, above], near[:, below], part)
    # As many rows as there are: only the columns change.
    return interpolate(
        lines.permute(0, 3, 1, 2), (len(place), width), mode="bilinear", align_corners=False
    ).permute(0, 2, 3, 1)
