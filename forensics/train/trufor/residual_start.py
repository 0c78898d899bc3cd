"""Where Noiseprint++ begins to learn: at a high-pass residual, not at random.

From random weights the distances of patches are those of what the photos show, and hundreds of
times too large for the softmax of Eq. 1: the loss falls only as the output fades to nothing, from
where it hardly comes back. The first Noiseprint therefore started from a trained denoiser
(Cozzolino and Verdoliva 2020, doi:10.1109/TIFS.2019.2916364). A fixed high-pass filter serves as
well and needs no training.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from forensics.trufor.model import SCALE
from forensics.trufor.noiseprint import Noiseprint

_SECOND_ORDER = ((-1, 2, -1), (2, -4, 2), (-1, 2, -1))  # over 4; Ker and Böhme 2008
_GAIN = 0.02  # distances of 64x64 patches are then a few units
_SHIFT = 0.6  # a half-wave's mean over its deviation: batch norm leaves it above 0


@torch.no_grad()
def start_as_residual(net: Noiseprint) -> None:
    """Make two channels of every layer carry the high-pass residual; changes ``net``.

    One carries its positive part, one its negative part, and the output is their difference, in
    training up to the scale that batch norm gives it. The other channels stay random and do not
    reach the output yet. Raises ValueError for a network of one channel.
    """
    layers: list[Any] = list(net)
    convolutions: list[Any] = [layer for layer in layers if isinstance(layer, nn.Conv2d)]
    first, *middle, last = convolutions
    if first.out_channels < 2:
        raise ValueError("a residual with its sign needs two channels at least")
    kernel = torch.tensor(_SECOND_ORDER, dtype=torch.float32) / 4 * SCALE / 3
    for channel, sign in enumerate((1, -1)):
        first.weight[channel] = sign * kernel
        first.bias[channel] = 0
        for layer in middle:
            layer.weight[channel] = 0
            layer.weight[channel, channel, 1, 1] = 1
    for layer in layers:
        if isinstance(layer, nn.BatchNorm2d):
            layer.bias[:2] = _SHIFT
    last.weight.zero_()
    last.bias.zero_()
    last.weight[0, :2, 1, 1] = torch.tensor([_GAIN, -_GAIN])
