"""Noiseprint++: the camera's and the editing history's traces as one plane per image."""

from __future__ import annotations

import torch
from torch import Tensor, nn

DEPTH, CHANNELS = 17, 64


class Noiseprint(nn.Sequential):
    """DnCNN (Zhang et al. 2017, doi:10.1109/TIP.2017.2662206) as TruFor uses it.

    Float32 (N, 3, H, W) in 0..1 in, (N, 1, H, W) out, of the same height and width. ``depth``
    3x3 convolutions (at least 2), ReLU after all but the last, batch norm on those in the middle.
    Parameters are named by position as in the published ``noiseprint++.th``.
    """

    def __init__(self, depth: int = DEPTH, channels: int = CHANNELS) -> None:
        layers: list[nn.Module] = [_convolution(3, channels, bias=True), nn.ReLU(inplace=True)]
        for _ in range(depth - 2):
            layers += [
                _convolution(channels, channels, bias=False),
                nn.BatchNorm2d(channels),
                nn.ReLU(inplace=True),
            ]
        super().__init__(*layers, _convolution(channels, 1, bias=True))


def _convolution(before: int, after: int, bias: bool) -> nn.Conv2d:
    return nn.Conv2d(before, after, 3, padding=1, bias=bias)


def folded(net: Noiseprint) -> list[tuple[Tensor, Tensor]]:
    """Weight and bias of every convolution, in order, with its batch norm (eval mode) folded in."""
    pairs: list[tuple[Tensor, Tensor]] = []
    with torch.no_grad():
        for layer in net:
            if isinstance(layer, nn.Conv2d):
                weight = layer.weight
                bias = weight.new_zeros(len(weight)) if layer.bias is None else layer.bias
                pairs.append((weight, bias))
            elif isinstance(layer, nn.BatchNorm2d):
                scale, shift = affine(layer)
                weight, bias = pairs.pop()
                pairs.append((weight * scale[:, None, None, None], bias * scale + shift))
    return pairs


def affine(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Scale and shift per channel that a batch norm amounts to in eval mode."""
    if norm.running_mean is None or norm.running_var is None:
        raise ValueError("this batch norm keeps no statistics")
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    return scale, norm.bias - norm.running_mean * scale
