"""A small feed-forward network on hand-made features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Self

import torch

from forensics.arrays import Array, like, to_tensor
from forensics.prnu.features import DESIGN_TERMS, FEATURES, design
from forensics.prnu.predictors.base import FeaturePredictor, lessons
from forensics.prnu.predictors.levenberg import Network, fit_network
from forensics.records import UserError

MAX_ROWS = 10_000  # blocks learned from: more tell the few parameters hardly anything new
_AT_ONCE = 1 << 16  # blocks predicted at once: their terms stay small in memory
_CONSTANT = 1e-6  # a term that spreads less is taken for constant


class FFNPredictor(FeaturePredictor):
    """One hidden layer (tanh) on the 14 terms of four hand-made features.

    The FFN predictor of the CNN-predictor paper, section 2: it is fed what least squares is fed
    (the four features alone told less on simulated cameras). The same data and ``seed`` give the
    same network. Predictions are kept within the range of those for the training blocks.
    """

    name: ClassVar[str] = "ffn"

    def __init__(self, hidden: int = 5, seed: int = 0) -> None:
        """``hidden``: neurons of the hidden layer; `ValueError` where there is none."""
        super().__init__()
        if hidden < 1:
            raise ValueError(f"a hidden layer needs at least one neuron, not {hidden}")
        self.hidden = hidden
        self._seed = seed
        self._net: Network | None = None
        self._range = torch.tensor([-1.0, 1.0], dtype=torch.float64)

    def fit_features(
        self, features: Array, rho: Array, window: int, weights: Array | None = None
    ) -> Self:
        """Learn from (N, 4) features and (N,) correlations of windows of that side (pixels).

        From `MAX_ROWS` of them, drawn by the seed, where there are more.
        """
        all_features, target, w = lessons(features, rho, weights)
        parameters = self.hidden * (DESIGN_TERMS + 1) + 1
        if len(target) <= parameters:
            raise UserError(
                f"{len(target)} blocks of {window} px are too few for a network of {parameters} "
                "parameters; give more or larger pristine photos"
            )
        f = all_features
        if len(target) > MAX_ROWS:
            drawn = torch.randperm(len(w), generator=torch.Generator().manual_seed(self._seed))
            rows = drawn[:MAX_ROWS].sort().values
            f, target, w = f[rows], target[rows], w[rows]
        x, y = design(f)[:, 1:], target[:, None]
        (x_mean, x_spread), (y_mean, y_spread) = _moments(x, w), _moments(y, w)
        net = fit_network(
            (x - x_mean) / x_spread, ((y - y_mean) / y_spread)[:, 0], w, self.hidden, self._seed
        )
        weight = net.weight / x_spread
        bias, output = net.bias - weight @ x_mean, net.output * y_spread
        self._net = Network(weight, bias, output, (net.offset * y_spread + y_mean)[0])
        rho_hat = _outputs(self._net, all_features)
        self._range = torch.stack([rho_hat.min(), rho_hat.max()])
        self.window = window
        return self

    def predict_features(self, features: Array) -> Array:
        """float32 (...,) for (..., 4) features."""
        if self._net is None:
            raise ValueError("this predictor has not been fitted")
        f = to_tensor(features)
        low, high = self._range.tolist()
        rho_hat = _outputs(self._net, f.reshape(-1, len(FEATURES))).clamp_(low, high)
        return like(features, rho_hat.reshape(f.shape[:-1]).to(torch.float32))

    def state(self) -> dict[str, torch.Tensor]:
        """``weight`` (hidden, 14), ``bias``, ``output`` (hidden,), ``offset`` (), ``range`` (2,)
        float64, and ``window`` int64."""
        if self._net is None or self.window is None:
            raise ValueError("this predictor has not been fitted")
        return {
            **self._net._asdict(),
            "range": self._range,
            "window": torch.tensor(self.window, dtype=torch.int64),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, torch.Tensor]) -> Self:
        """The predictor back from its tensors. Raises `UserError` where one is missing."""
        missing = {*Network._fields, "range", "window"} - set(state)
        if missing:
            raise UserError(f"the state of an ffn predictor lacks {', '.join(sorted(missing))}")
        predictor = cls(hidden=len(state["bias"]))
        predictor._net = Network(*(state[name].to(torch.float64) for name in Network._fields))
        predictor._range = state["range"].to(torch.float64)
        predictor.window = int(state["window"])
        return predictor


def _outputs(net: Network, features: torch.Tensor) -> torch.Tensor:
    """float64 (n,) for (n, 4)."""
    net = Network(*(part.to(features.device) for part in net))
    parts = torch.split(features, _AT_ONCE)
    return torch.cat([net(design(part.to(torch.float64))[:, 1:]) for part in parts])


def _moments(x: torch.Tensor, weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Weighted mean and spread of every column; a spread of 1 where it is constant."""
    share = weights / weights.sum()
    mean = share @ x
    spread = (share @ (x - mean).square()).sqrt()
    return mean, torch.where(spread > _CONSTANT, spread, 1.0)
