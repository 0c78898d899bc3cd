"""The network of the CNN correlation predictor, applied to blocks or convolved over images."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, conv2d

from forensics.config import Settings
from forensics.records import UserError

POOL = 2
STAGES = 3
STEP: int = POOL**STAGES  # pixels between the windows that share all their convolutions

_MIDDLE, _SPREAD = 128.0, 64.0  # of 8-bit pixels: inputs then have about unit variance

Width = Annotated[int, Field(ge=1)]


class CNNSettings(Settings):
    """Shape of the network; the window is chosen where it is trained."""

    widths: tuple[Width, Width, Width, Width, Width, Width] = Field(
        default=(6, 12, 18, 24, 30, 36), description="feature maps of the six convolutions"
    )
    kernel: int = Field(default=5, ge=1, description="side of the convolution kernels, pixels")
    hidden: int = Field(default=192, ge=1, description="units of the fully connected layer")

    def last_map(self, window: int) -> int:
        """Side of the last feature map of a window.

        Raises `UserError` where a size is not whole, naming the nearest windows that fit.
        """
        # Each stage is size -> (size - shrink) / POOL, so sizes are whole for every STEP-th window.
        shrink = 2 * (self.kernel - 1)
        smallest = shrink * (STEP - 1) + STEP
        if window < smallest or (window - smallest) % STEP:
            near = max(0, (window - smallest) // STEP) * STEP + smallest
            raise UserError(
                f"a window of {window} px does not fit a network of {self.kernel}x{self.kernel} "
                f"kernels; windows are {smallest} + a multiple of {STEP}, such as {near} or "
                f"{near + STEP}"
            )
        return (window - smallest) // STEP + 1


class CorrelationNetwork(nn.Module):
    """RGB windows in, one correlation each out.

    Three stages of [convolution, convolution, 2x2 average pool] without padding, a fully connected
    layer over the whole last map, and one linear output; ReLU between them. "A CNN-based
    correlation predictor for PRNU-based image forgery localization" (Fig. 2). The fully connected
    layers are convolutions here, so a larger image gives all its windows at a stride of `STEP`.

    Pixels 0..255 enter as ``(I − 128)/64``. The last layer works in units of ``output_scale``
    around ``output_offset``, the spread and mean of the correlations it was trained on, so that
    errors and gradients are of order one whatever the camera. Weights start as He, Zhang, Ren, Sun
    2015 (doi:10.1109/ICCV.2015.123) propose for ReLU, from ``seed``; the output starts at zero.

    A correlation is about the mean of what the window's parts show, so the fully connected layer
    starts as a layer on the mean of the last map. Its weights are kept multiplied by the size of
    the map: otherwise a step in all of them at once would weigh far more than one in a convolution.
    """

    output_offset: Tensor
    output_scale: Tensor

    def __init__(self, settings: CNNSettings, window: int, seed: int = 0) -> None:
        super().__init__()
        last_map = settings.last_map(window)
        self.settings = settings
        self.window = window
        channels = (3, *settings.widths)
        with torch.random.fork_rng(devices=[]):  # the layers draw weights that are replaced below
            convolutions = [
                nn.Conv2d(before, after, settings.kernel) for before, after in pairwise(channels)
            ]
            self.stages = nn.ModuleList(
                nn.Sequential(
                    convolutions[i], nn.ReLU(inplace=True),
                    convolutions[i + 1], nn.ReLU(inplace=True),
                )
                for i in range(0, len(convolutions), 2)
            )  # fmt: skip
            self.hidden = nn.Conv2d(channels[-1], settings.hidden, last_map)
            self.output = nn.Conv2d(settings.hidden, 1, 1)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for layer in convolutions:
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)
            on_mean = self.hidden.weight.new_empty(settings.hidden, channels[-1], 1, 1)
            nn.init.kaiming_normal_(on_mean, nonlinearity="relu", generator=generator)
            self.hidden.weight.copy_(on_mean.expand_as(self.hidden.weight))
            for name, parameter in self.named_parameters():
                if name.endswith("bias") or name.startswith("output"):
                    parameter.zero_()
                elif parameter.ndim == 4:
                    # Colours are stored innermost, as photos have them: oneDNN is twice as fast.
                    parameter.data = parameter.contiguous(memory_format=torch.channels_last)
        self.register_buffer("output_offset", torch.tensor(0.0))
        self.register_buffer("output_scale", torch.tensor(1.0))

    def forward(self, pixels: Tensor) -> Tensor:
        """float32 (N, h, w) correlations of the windows at multiples of `STEP`.

        ``pixels``: uint8 or float (N, 3, H, W), 0..255, H and W at least the window.
        """
        x = self.normalised(pixels)
        for stage in self.stages:
            x = avg_pool2d(stage(x), POOL)
        return self.head(x)

    def normalised(self, pixels: Tensor) -> Tensor:
        """The input of the first stage."""
        return (pixels.to(torch.float32) - _MIDDLE) / _SPREAD

    def head(self, maps: Tensor, stride: int = 1) -> Tensor:
        """(N, h, w) correlations from the last maps, of every ``stride``-th window."""
        weight = self.hidden.weight / self.hidden.weight[0, 0].numel()
        hidden = conv2d(maps, weight, self.hidden.bias, stride=stride)
        x = self.output(torch.relu_(hidden))[:, 0].to(torch.float32)
        return torch.addcmul(self.output_offset, x, self.output_scale)
