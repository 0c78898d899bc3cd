"""What every strategy of localization starts from, and what it gives."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch

from forensics.prnu.features import feature_planes
from forensics.prnu.saturation import saturation_plane


@dataclass(frozen=True, eq=False)
class Signals:
    """One image beside the fingerprint it is held against; planes are computed once, when asked.

    Raises `ValueError` where the shapes differ.
    """

    rgb: torch.Tensor  # uint8 (H, W, 3)
    W: torch.Tensor  # float32 (H, W), noise residual
    Z: torch.Tensor  # float32 (H, W), fingerprint times intensity

    def __post_init__(self) -> None:
        if not self.rgb.shape[:2] == self.W.shape == self.Z.shape or self.rgb.ndim != 3:
            shapes = ", ".join(str(tuple(t.shape)) for t in (self.rgb, self.W, self.Z))
            raise ValueError(f"rgb, W and Z differ in size: {shapes}")

    @property
    def height(self) -> int:
        return int(self.W.shape[0])

    @property
    def width(self) -> int:
        return int(self.W.shape[1])

    @cached_property
    def features(self) -> torch.Tensor:
        """float32 (4, H, W): what the predictors' features are means of."""
        return feature_planes(self.rgb)

    @cached_property
    def saturation(self) -> torch.Tensor:
        """float32 (H, W), 0..1."""
        return saturation_plane(self.rgb)


class LocalMaps(NamedTuple):
    """What a strategy finds, float32 (ceil(H/stride), ceil(W/stride)) each."""

    rho: torch.Tensor
    rho_hat: torch.Tensor  # at the gain of the image; 0 where saturated
    probability: torch.Tensor  # of tampering; 0.5 where saturated
    gain: float  # how strongly the image shows its fingerprint, as a multiple of the prediction
