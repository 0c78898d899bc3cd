"""Single sliding window: one correlation, one prediction and one probability per cell."""

from __future__ import annotations

from typing import NamedTuple

import torch

from forensics.prnu.camera_model import WindowModel
from forensics.prnu.correlation import ncc_field
from forensics.prnu.hypothesis import tampering_probability


class WindowMaps(NamedTuple):
    """Dense maps of one window size, float32 (ceil(H/stride), ceil(W/stride)) each."""

    rho: torch.Tensor
    rho_hat: torch.Tensor
    probability: torch.Tensor


def sliding_window(
    rgb: torch.Tensor,
    W: torch.Tensor,
    Z: torch.Tensor,
    model: WindowModel,
    stride: int = 8,
) -> WindowMaps:
    """Tampering probability of the window around every cell (equations 2 to 6 of the method).

    Args:
        rgb: uint8 (H, W, 3) pixels.
        W: float32 (H, W) noise residual of the image.
        Z: float32 (H, W) fingerprint times intensity.
        model: predictor and spreads for the window's size.
        stride: side of a cell in pixels.
    """
    rho = ncc_field(W, Z, model.window, stride)
    rho_hat = model.predictor.predict_dense(rgb, stride)
    return WindowMaps(rho, rho_hat, tampering_probability(rho, rho_hat, model.sigma0, model.sigma1))
