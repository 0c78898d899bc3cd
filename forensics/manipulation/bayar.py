"""The network of Bayar and Stamm 2016 (doi:10.1145/2909827.2930786), a baseline."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from forensics.manipulation.base import NetworkSettings, PatchNetwork
from forensics.records import UserError

_MIDDLE = 127.5  # grey level that enters as 0; black and white are −1 and 1
_SMALLEST = 39  # pixels: the last map of it is one pixel
_NEAR = 0.5  # sum of weights from which on scaling to 1 is a correction


class BayarNetwork(PatchNetwork):
    """A constrained convolution that suppresses content, then an ordinary small network.

    12 filters of 5×5 whose centre is −1 and whose other weights add up to 1, with no
    non-linearity after them; convolution to 64 (7×7, stride 2), max-pool 3/2, convolution to 48
    (5×5), max-pool 3/2, two layers of 4096 with dropout 0.5, and one score per class; ReLU after
    all but the first and the last. The published network takes 227×227 pixels; the first layer of
    4096 is as wide as the window here makes its map. Weights start at random from ``seed``.

    Raises `UserError` for a window below 39 pixels.
    """

    thins: ClassVar[bool] = False

    def __init__(self, settings: NetworkSettings, seed: int = 0) -> None:
        super().__init__(settings)
        if settings.window < _SMALLEST:
            raise UserError(
                f"a window of {settings.window} px is too small, it needs {_SMALLEST} px or more"
            )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.residuals = nn.Conv2d(1, 12, 5, bias=False)
            self.maps = nn.Sequential(
                nn.Conv2d(12, 64, 7, stride=2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2),
                nn.Conv2d(64, 48, 5), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2),
            )  # fmt: skip
            with torch.no_grad():
                side = settings.window
                shape = self.maps(torch.zeros(1, 12, side - 4, side - 4)).shape
            self.dense = nn.Sequential(
                nn.Flatten(),
                nn.Linear(shape[1:].numel(), 4096), nn.ReLU(inplace=True), nn.Dropout(0.5),
                nn.Linear(4096, 4096), nn.ReLU(inplace=True), nn.Dropout(0.5),
            )  # fmt: skip
            self.classifier = nn.Linear(4096, len(settings.classes))
        self.constrain()

    @property
    def head(self) -> nn.Linear:
        return self.classifier

    def forward(self, pixels: Tensor, step: int = 1) -> Tensor:
        if step != 1:
            raise ValueError("this network looks at every place")
        x = (pixels[:, None].to(torch.float32) - _MIDDLE) / _MIDDLE
        # Residuals are small differences of large numbers, which TF32 would round away.
        with torch.backends.cudnn.flags(allow_tf32=False):
            residuals = self.residuals(x)
        scores: Tensor = self.classifier(self.dense(self.maps(residuals)))
        return scores

    @torch.no_grad()
    def constrain(self) -> None:
        """The first filters' centres set to −1, their other weights made to add up to 1.

        By scaling, as published, which after a step changes little: the sum was 1 before it. Random
        weights at the start add up to about 0; scaled, some would be hundreds, and of the other
        sign. Wherever the sum is not near 1 the same amount is added to each weight instead, the
        smallest change that there is (the orthogonal projection).
        """
        weight = self.residuals.weight
        weight[:, :, 2, 2] = 0
        total = weight.sum((2, 3), keepdim=True)
        shifted = weight + (1 - total) / (weight[0, 0].numel() - 1)
        weight.copy_(torch.where(total >= _NEAR, weight / total, shifted))
        weight[:, :, 2, 2] = -1
