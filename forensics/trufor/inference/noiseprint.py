"""Noiseprint++ of an image of any size, all its convolutions strip by strip."""

from __future__ import annotations

import torch
from torch import Tensor

from forensics.trufor.inference.strips import RowConvolution, strips
from forensics.trufor.noiseprint import Noiseprint, folded


class NoiseprintPlane:
    """A trained `Noiseprint` for inference, batch norm folded into the convolutions."""

    def __init__(self, net: Noiseprint) -> None:
        self._layers = [
            (weight.contiguous(memory_format=torch.channels_last), bias)
            for weight, bias in folded(net)
        ]

    def __call__(self, rgb: Tensor) -> Tensor:
        """Float32 (1, H, W, 3) in [0, 1) to (1, H, W, 1)."""
        height, width = rgb.shape[1:3]
        layers = [
            RowConvolution(weight, bias, rectified=i > 0)
            for i, (weight, bias) in enumerate(self._layers)
        ]
        plane = rgb.new_empty(1, height, width, 1)
        done = 0
        for strip in strips(height, width * len(self._layers[0][0]), rgb.device):
            x, last = rgb[:, strip], strip.stop == height
            for layer in layers:
                x = layer.push(x, last)
            plane[:, done : done + x.shape[1]] = x
            done += x.shape[1]
        return plane
