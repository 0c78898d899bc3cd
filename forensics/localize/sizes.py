"""Spreads and predictions for regions of any size, from those of the square windows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from forensics.prnu.camera_model import WindowModel

Floats = NDArray[np.float64]


class SizeModel:
    """Interpolation over the equivalent side of a region, the square root of its pixels.

    Cubic splines through the values at the window sizes, section 3.2 of the M-SLIC paper
    (doi:10.1007/s11042-019-7288-y); beyond the smallest and the largest window their values hold.

    Raises `ValueError` where there is no window, or two of one size.
    """

    def __init__(self, models: Sequence[WindowModel]) -> None:
        self.models = tuple(sorted(models, key=lambda model: model.window))
        self.sides: Floats = np.array([model.window for model in self.models], dtype=np.float64)
        if not len(self.sides) or (np.diff(self.sides) == 0).any():
            raise ValueError(f"a size model needs windows of distinct sizes, got {self.sides}")
        self._sigma0 = np.array([model.sigma0 for model in self.models])
        self._sigma1 = np.array([model.sigma1 for model in self.models])

    def sigma0(self, side: torch.Tensor) -> torch.Tensor:
        """Spread without the fingerprint: float64, of the shape of ``side`` (pixels)."""
        return self._spread(self._sigma0, side)

    def sigma1(self, side: torch.Tensor) -> torch.Tensor:
        """Spread of the prediction's error: float64, of the shape of ``side`` (pixels)."""
        return self._spread(self._sigma1, side)

    def rho_hat(self, side: torch.Tensor, at_windows: torch.Tensor) -> torch.Tensor:
        """Prediction for regions of the given equivalent sides.

        Args:
            side: (n,) pixels.
            at_windows: (S, n), what the predictor of each window size says of each region.

        Returns:
            float32 (n,), at least 0.
        """
        values = at_windows.to(torch.float64).cpu().numpy()
        x = np.clip(side.to(torch.float64).cpu().numpy(), self.sides[0], self.sides[-1])
        if len(self.sides) == 1:
            found = values[0]
        else:
            spline = CubicSpline(self.sides, values)
            piece = np.clip(np.searchsorted(self.sides, x, "right") - 1, 0, len(self.sides) - 2)
            powers = (x - self.sides[piece]) ** np.arange(3, -1, -1)[:, None]
            found = (spline.c[:, piece, np.arange(len(x))] * powers).sum(0)
        return torch.from_numpy(found.clip(min=0)).to(at_windows.device, torch.float32)

    def _spread(self, values: Floats, side: torch.Tensor) -> torch.Tensor:
        x = np.clip(side.to(torch.float64).cpu().numpy(), self.sides[0], self.sides[-1])
        if len(self.sides) == 1:
            found = np.full(x.shape, values[0])
        else:
            # A spline may swing below its smallest node where the nodes are noisy.
            found = CubicSpline(self.sides, values)(x).clip(min=values.min() / 2)
        return torch.from_numpy(found).to(side.device)
