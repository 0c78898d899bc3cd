"""What a predictor is, and what those on hand-made features share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Protocol, Self

import torch

from forensics.arrays import Array, to_tensor
from forensics.prnu.features import FEATURES, block_features, feature_maps, feature_planes


class Predictor(Protocol):
    """Learns correlations of one camera at one window size."""

    name: ClassVar[str]
    window: int | None
    """Side of its blocks in pixels; None until fitted."""

    def fit(self, blocks: Array, rho: Array) -> Self:
        """Learn from uint8 (N, w, w, 3) blocks and their measured correlations (N,)."""
        ...

    def predict(self, blocks: Array) -> Array:
        """float32 (N,) predictions for uint8 (N, w, w, 3) blocks."""
        ...

    def predict_dense(self, rgb: Array, stride: int = 1) -> Array:
        """float32 (ceil(H/stride), ceil(W/stride)): the prediction for the window of every cell."""
        ...

    def state(self) -> dict[str, torch.Tensor]:
        """All that was learned, as plain tensors."""
        ...

    @classmethod
    def from_state(cls, state: Mapping[str, torch.Tensor]) -> Self:
        """A predictor as it was when `state` was taken."""
        ...


class FeaturePredictor(ABC):
    """A predictor that sees nothing of a window but its four features."""

    name: ClassVar[str]

    def __init__(self) -> None:
        self.window: int | None = None

    @abstractmethod
    def fit_features(
        self, features: Array, rho: Array, window: int, weights: Array | None = None
    ) -> Self:
        """Learn from (N, 4) features and (N,) correlations of windows of that side (pixels).

        ``weights``: (N,) how much each window counts, 0 or more; all alike if None. Raises
        `UserError` where the windows are too few and `ValueError` for shapes that do not fit.
        """

    @abstractmethod
    def predict_features(self, features: Array) -> Array:
        """float32 (...,) for (..., 4) features."""

    @abstractmethod
    def state(self) -> dict[str, torch.Tensor]:
        """All that was learned, as plain tensors."""

    @classmethod
    @abstractmethod
    def from_state(cls, state: Mapping[str, torch.Tensor]) -> Self:
        """A predictor as it was when `state` was taken."""

    def fit(self, blocks: Array, rho: Array) -> Self:
        """Learn from uint8 (N, w, w, 3) blocks; raises `UserError` where they are too few."""
        return self.fit_features(block_features(blocks), rho, window=int(blocks.shape[1]))

    def predict(self, blocks: Array) -> Array:
        """float32 (N,) for uint8 (N, w, w, 3) blocks."""
        return self.predict_features(block_features(blocks))

    def predict_dense(self, rgb: Array, stride: int = 1) -> Array:
        """Prediction for the window of every cell; windows at the border use what is inside."""
        if self.window is None:
            raise ValueError("this predictor has not been fitted")
        return self.predict_features(feature_maps(feature_planes(rgb), self.window, stride))


def lessons(
    features: Array, rho: Array, weights: Array | None = None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """What `FeaturePredictor.fit_features` is given, checked: float64 tensors on the CPU."""
    f, target = (to_tensor(x).to("cpu", torch.float64) for x in (features, rho))
    w = torch.ones_like(target) if weights is None else to_tensor(weights).to(target)
    if f.shape != (len(target), len(FEATURES)) or not target.shape == w.shape == (len(target),):
        shapes = ", ".join(str(tuple(x.shape)) for x in (f, target, w))
        raise ValueError(f"features, rho and weights do not fit: {shapes}")
    if not bool((w >= 0).all()) or (len(w) and not bool(w.any())):
        raise ValueError("weights must not be negative, nor all 0")
    return f, target, w
