"""The CNN that judges a patch: seven convolutions on raw pixels (section 2.3 of the paper)."""

from __future__ import annotations

import math
from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from forensics.config import Settings

Scenario = Literal["ada", "vgg"]

WIDTHS = (64, 64, 32, 32, 64, 64, 128)
"""Filters of the seven layers; the last five are followed by 2x2 max-pooling."""

HIDDEN = 2048
KEPT = 0.2
"""Part of the fully connected layer that dropout keeps while training."""

FIXED = 2  # layers that the scenario vgg takes from VGG-19

_MEAN = (0.485, 0.456, 0.406)  # of ImageNet, in 0..1: what VGG-19 was trained with
_DEVIATION = (0.229, 0.224, 0.225)


class NetworkSettings(Settings):
    """What a network tells apart, and how large it is."""

    classes: tuple[str, ...] = Field(description="labels in the order of the outputs")
    natural: str | None = Field(None, description="the label of photographs, if there is one")
    scenario: Scenario = Field(
        "ada", description="ada: all layers learn; vgg: the first two are VGG-19's and stay so"
    )
    side: int = Field(224, ge=32, multiple_of=32, description="side of a patch in pixels")
    width: float = Field(
        1.0, gt=0, le=1, description="part of the paper's filters and hidden units"
    )

    jpeg_qualities: tuple[int, int] | None = Field(
        None, description="range in which the images learned from were compressed, last; or none"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(self.classes) < 2 or len(set(self.classes)) < len(self.classes):
            raise ValueError(f"classes must be two or more, all different, not {self.classes}")
        if self.natural is not None and self.natural not in self.classes:
            raise ValueError(f"natural is {self.natural!r}, none of {', '.join(self.classes)}")
        return self

    @property
    def jpeg_quality(self) -> int | None:
        """At which an image is to be compressed before its patches are judged."""
        return None if self.jpeg_qualities is None else sum(self.jpeg_qualities) // 2

    @property
    def filters(self) -> tuple[int, ...]:
        """Of the seven layers; the fixed ones keep their width."""
        thin = tuple(max(1, round(width * self.width)) for width in WIDTHS)
        return WIDTHS[:FIXED] + thin[FIXED:] if self.scenario == "vgg" else thin


class OriginNetwork(nn.Module):
    """RGB patches in, a score for every class out; soft-max makes them probabilities.

    Seven 3x3 convolutions with stride 1 and zeros beyond the border, each with batch norm and ReLU;
    after the last five max-pooling; a layer of 2048 with ReLU and dropout; one output per class.
    The two fixed layers of ``vgg`` are VGG-19's own, with bias and without batch norm, as the
    second expects what the first gives. Pixels enter as VGG-19 wants them. Weights start at random
    from ``seed`` (He).
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, settings: NetworkSettings, seed: int = 0) -> None:
        super().__init__()
        self.settings = settings
        self.register_buffer("mean", 255 * torch.tensor(_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer(
            "deviation", 255 * torch.tensor(_DEVIATION).view(3, 1, 1), persistent=False
        )
        fixed = FIXED if settings.scenario == "vgg" else 0
        widths = (3, *settings.filters)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.layers = nn.Sequential(
                *(
                    _layer(widths[i], widths[i + 1], pooled=i >= 2, normed=i >= fixed)
                    for i in range(len(WIDTHS))
                )
            )
            hidden = max(1, round(HIDDEN * settings.width))
            cells = (settings.side // 2**5) ** 2
            self.hidden = nn.Sequential(
                nn.Flatten(),
                nn.Linear(widths[-1] * cells, hidden),
                nn.ReLU(inplace=True),
                nn.Dropout(1 - KEPT),
            )
            self.classifier = nn.Linear(hidden, len(settings.classes))
            for module in self.modules():
                if isinstance(module, nn.Conv2d | nn.Linear):
                    nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                    if module.bias is not None:
                        nn.init.zeros_(module.bias)
        for layer in list(self.layers)[:fixed]:
            layer.requires_grad_(False)

    def forward(self, pixels: Tensor) -> Tensor:
        """float32 (B, classes) scores of uint8 or float (B, side, side, 3) patches, 0..255."""
        x = pixels.movedim(-1, 1).to(torch.float32, memory_format=torch.channels_last)
        x = self.layers((x - self.mean) / self.deviation)
        scores: Tensor = self.classifier(self.hidden(x))
        return scores

    @property
    def first(self) -> Tensor:
        """Weights of the first layer's filters, (filters, 3, 3, 3): channels red, green, blue."""
        return self.get_parameter("layers.0.0.weight").detach()

    @property
    def activations(self) -> int:
        """Upper estimate of the bytes that a patch takes on its way."""
        width, side = max(self.settings.filters), self.settings.side
        return math.ceil(4 * 3 * width * side * side)


@torch.inference_mode()
def probabilities(network: OriginNetwork, patches: Tensor, batch: int = 16) -> Tensor:
    """Class probabilities, float32 (n, classes), of uint8 (n, side, side, 3) patches.

    Patches go to the network's device a batch at a time; what comes back is on the CPU.
    """
    device = network.classifier.weight.device
    parts = [
        torch.softmax(network(part.to(device)), 1).cpu() for part in torch.split(patches, batch)
    ]
    return torch.cat(parts) if parts else torch.empty(0, len(network.settings.classes))


def _layer(before: int, after: int, *, pooled: bool, normed: bool) -> nn.Sequential:
    parts: list[nn.Module] = [nn.Conv2d(before, after, 3, padding=1, bias=not normed)]
    if normed:
        parts.append(nn.BatchNorm2d(after))
    parts.append(nn.ReLU(inplace=True))
    if pooled:
        parts.append(nn.MaxPool2d(2))
    return nn.Sequential(*parts)
