"""The whole network, with the parameter names of the published checkpoint."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import interpolate

from forensics.config import Settings
from forensics.trufor.decoder import MlpDecoder
from forensics.trufor.encoder import (
    B2,
    BRANCHES,
    NOISEPRINT_BRANCH,
    RGB_BRANCH,
    Encoder,
    EncoderSettings,
    Size,
)
from forensics.trufor.noiseprint import CHANNELS, DEPTH, Noiseprint
from forensics.trufor.pooling import ForgeryDetector, statistics

SCALE = 256.0
"""Pixels 0..255 are divided by this, as the published network was trained."""

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, for the RGB branch

_EPS_LOGITS, _EPS_CONFIDENCE = 1e-3, 1e-5


class TruForSettings(Settings):
    """Shape of the network; the defaults are those of the published checkpoint."""

    inputs: Literal["both", "rgb", "noiseprint"] = Field(
        default="both",
        description="what it localizes by; one alone is a plain SegFormer, to compare with",
    )
    encoder: EncoderSettings = B2
    embedding: Size = Field(default=512, description="channels of the decoders")
    hidden: Size = Field(default=128, description="units of the detector")
    noiseprint_depth: int = Field(default=DEPTH, ge=2, description="convolutions of Noiseprint++")
    noiseprint_channels: int = Field(default=CHANNELS, ge=2, description="channels of Noiseprint++")

    @property
    def branches(self) -> tuple[str, ...]:
        """Of the encoder."""
        alone = {"rgb": (RGB_BRANCH,), "noiseprint": (NOISEPRINT_BRANCH,)}
        return alone.get(self.inputs, BRANCHES)


class Output(NamedTuple):
    """What the network says of a batch, float32, at the size of the images."""

    logits: Tensor
    """(N, 2, H, W): pristine, forged."""
    confidence: Tensor
    """(N, 1, H, W): logits."""
    score: Tensor
    """(N, 1): logits, positive where forged."""
    noiseprint: Tensor
    """(N, 1, H, W)."""


class TruForNetwork(nn.Module):
    """TruFor (Guillaro et al. 2023, arXiv:2212.10957): where is it forged, how sure is that, is it?

    `forward` is the plain, differentiable network for training; images of any size are examined by
    `forensics.trufor.TruFor`, which needs far less time and memory and gives the same numbers.
    Weights are drawn from ``seed`` as SegFormer draws them; ``drop_path`` is the probability with
    which the last block's parts are left out in training.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, settings: TruForSettings | None = None, drop_path: float = 0.1, seed: int = 0
    ) -> None:
        super().__init__()
        self.settings = settings = settings or TruForSettings()
        widths, embedding = settings.encoder.widths, settings.embedding
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.backbone = Encoder(settings.encoder, settings.branches, drop_path)
            self.decode_head = MlpDecoder(widths, embedding, 2, _EPS_LOGITS)
            self.decode_head_conf = MlpDecoder(widths, embedding, 1, _EPS_CONFIDENCE)
            self.detection = ForgeryDetector(settings.hidden)
            self.dncnn = Noiseprint(settings.noiseprint_depth, settings.noiseprint_channels)
            self.apply(_initialise)
        self.register_buffer("mean", torch.tensor(MEAN), persistent=False)
        self.register_buffer("std", torch.tensor(STD), persistent=False)

    def forward(self, rgb: Tensor) -> Output:
        """Float32 (N, 3, H, W) in [0, 1): pixels divided by `SCALE`."""
        size = rgb.shape[2:]
        maps, noiseprint = self._encoded(rgb)
        logits = enlarged(self.decode_head(maps), size)
        confidence = enlarged(self.decode_head_conf(maps), size)
        score = self.detection(statistics(logits, confidence))
        return Output(logits, confidence, score, noiseprint)

    def localize(self, rgb: Tensor) -> Tensor:
        """The ``logits`` alone, without the work for confidence and score."""
        maps, _ = self._encoded(rgb)
        return enlarged(self.decode_head(maps), rgb.shape[2:])

    def _encoded(self, rgb: Tensor) -> tuple[list[Tensor], Tensor]:
        """What the decoders start from, and Noiseprint++."""
        noiseprint = self.dncnn(rgb)
        inputs = {
            RGB_BRANCH: self.normalised(rgb.permute(0, 2, 3, 1)),
            NOISEPRINT_BRANCH: noiseprint.permute(0, 2, 3, 1).expand(-1, -1, -1, 3),
        }
        return self.backbone(inputs), noiseprint

    def normalised(self, rgb: Tensor) -> Tensor:
        """Input (N, H, W, 3) of the RGB branch."""
        return (rgb - self.mean) / self.std


def enlarged(x: Tensor, size: torch.Size | tuple[int, int]) -> Tensor:
    """(N, C, h, w) at another size, bilinear."""
    return interpolate(x, (size[0], size[1]), mode="bilinear", align_corners=False)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
