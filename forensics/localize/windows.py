"""Single sliding window: one correlation, one prediction and one probability per cell."""

from __future__ import annotations

from typing import NamedTuple

import torch

from forensics.localize.threshold import TAU
from forensics.prnu.camera_model import WindowModel
from forensics.prnu.correlation import ncc_field
from forensics.prnu.hypothesis import tampering_probability
from forensics.prnu.regression import image_gain

_ROUNDS = 3  # of fitting the gain to what looks authentic


class WindowMaps(NamedTuple):
    """Dense maps of one window size, float32 (ceil(H/stride), ceil(W/stride)) each."""

    rho: torch.Tensor
    rho_hat: torch.Tensor  # at the gain of the image
    probability: torch.Tensor
    gain: float  # how strongly the image shows its fingerprint, as a multiple of the prediction


def sliding_window(
    rgb: torch.Tensor,
    W: torch.Tensor,
    Z: torch.Tensor,
    model: WindowModel,
    stride: int = 8,
) -> WindowMaps:
    """Tampering probability of the window around every cell.

    The prediction is scaled by one gain per image (`image_gain`), which takes up what weakens the
    fingerprint everywhere, such as a low JPEG quality; windows that look tampered are left out of
    it, unless they are the majority. Windows that the border cuts hold fewer pixels, so both
    spreads are widened there.

    Args:
        rgb: uint8 (H, W, 3) pixels.
        W: float32 (H, W) noise residual of the image.
        Z: float32 (H, W) fingerprint times intensity.
        model: predictor and spreads for the window's size.
        stride: side of a cell in pixels.
    """
    rho = ncc_field(W, Z, model.window, stride)
    rho_hat = model.predictor.predict_dense(rgb, stride).clamp(min=0)
    full = model.window**2 / _pixels(W.shape[0], W.shape[1], model.window, stride)
    sigma0 = model.sigma0 * full.sqrt().to(rho.device)
    error = max(model.sigma1**2 - model.sigma0**2, 0.0)  # of the prediction itself
    sigma1 = (sigma0**2 + error).sqrt() if error else sigma0 * (model.sigma1 / model.sigma0)

    gain = image_gain(rho, rho_hat)
    probability = tampering_probability(rho, gain * rho_hat, sigma0, sigma1)
    for _ in range(_ROUNDS):  # what looks tampered would pull the gain down for all the rest
        authentic = probability < TAU
        if 2 * int(authentic.sum()) < authentic.numel():
            break
        gain = image_gain(rho[authentic], rho_hat[authentic])
        probability = tampering_probability(rho, gain * rho_hat, sigma0, sigma1)
    return WindowMaps(rho, gain * rho_hat, probability, gain)


def _pixels(height: int, width: int, window: int, stride: int) -> torch.Tensor:
    """How many pixels of the window around each cell lie inside the image."""
    inside = []
    for size in (height, width):
        centre = (torch.arange(-(-size // stride)) * stride + stride // 2).clamp(max=size - 1)
        start = centre - window // 2
        inside.append((start + window).clamp(max=size) - start.clamp(min=0))
    return torch.outer(*inside).to(torch.float64)
