"""Least squares on hand-made features: the predictor everything else is measured against."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Self

import torch

from forensics.arrays import Array, like, to_tensor
from forensics.prnu.features import DESIGN_TERMS, design
from forensics.prnu.predictors.base import FeaturePredictor, lessons
from forensics.records import UserError


class LSEPredictor(FeaturePredictor):
    """Least squares on 15 terms of four hand-made features.

    Chen, Fridrich, Goljan, Lukáš 2008, doi:10.1109/TIFS.2007.916285. Predictions are kept within
    the range of those for the training blocks: a quadratic says nothing beyond its data.
    """

    name: ClassVar[str] = "lse"

    def __init__(self) -> None:
        super().__init__()
        self._theta: torch.Tensor | None = None
        self._range = torch.tensor([-1.0, 1.0], dtype=torch.float64)

    def fit_features(
        self, features: Array, rho: Array, window: int, weights: Array | None = None
    ) -> Self:
        """Learn from (N, 4) features and (N,) correlations of windows of that side (pixels)."""
        f, target, w = lessons(features, rho, weights)
        if len(target) <= DESIGN_TERMS:
            raise UserError(
                f"{len(target)} blocks of {window} px are too few for a predictor of "
                f"{DESIGN_TERMS} terms; give more or larger pristine photos"
            )
        root = w.sqrt()
        # Minimum norm where photos leave a term undetermined (no saturation, all one brightness).
        theta = torch.linalg.lstsq(
            root[:, None] * design(f), root * target, rcond=1e-10, driver="gelsd"
        ).solution
        return self.take(theta, f, window)

    def take(self, theta: torch.Tensor, features: Array, window: int) -> Self:
        """Coefficients (15,) found elsewhere, on windows of that side with (N, 4) ``features``."""
        self._theta = theta.to(torch.float64)
        rho_hat = design(to_tensor(features).to(torch.float64)) @ self._theta
        self._range = torch.stack([rho_hat.min(), rho_hat.max()])
        self.window = window
        return self

    def predict_features(self, features: Array) -> Array:
        """float32 (...,) for (..., 4) features."""
        if self._theta is None:
            raise ValueError("this predictor has not been fitted")
        f = to_tensor(features).to(torch.float64)
        theta = self._theta.to(f.device)
        # The 15 terms as a quadratic form: a dense map of them would be four times as large.
        quadratic = torch.zeros(4, 4, dtype=torch.float64, device=f.device)
        quadratic[tuple(torch.triu_indices(4, 4, device=f.device))] = theta[5:]
        low, high = self._range.tolist()
        rho_hat = torch.linalg.vecdot(f @ quadratic + theta[1:5], f).add_(theta[0])
        return like(features, rho_hat.clamp_(low, high).to(torch.float32))

    def state(self) -> dict[str, torch.Tensor]:
        """``theta`` (15,), ``range`` (2,) float64 and ``window`` int64."""
        if self._theta is None or self.window is None:
            raise ValueError("this predictor has not been fitted")
        return {
            "theta": self._theta,
            "range": self._range,
            "window": torch.tensor(self.window, dtype=torch.int64),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, torch.Tensor]) -> Self:
        """The predictor back from its tensors. Raises `UserError` where one is missing."""
        missing = {"theta", "range", "window"} - set(state)
        if missing:
            raise UserError(f"the state of an lse predictor lacks {', '.join(sorted(missing))}")
        predictor = cls()
        predictor._theta = state["theta"].to(torch.float64)
        predictor._range = state["range"].to(torch.float64)
        predictor.window = int(state["window"])
        return predictor
