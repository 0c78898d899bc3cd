"""Single sliding window (SW-SS): one correlation, prediction and probability per cell."""

from __future__ import annotations

import torch

from forensics.boxfilter import box_mean
from forensics.localize.gain import find_gain, judge
from forensics.localize.signals import LocalMaps, Signals
from forensics.prnu.camera_model import WindowModel
from forensics.prnu.correlation import ncc_field
from forensics.prnu.features import feature_maps
from forensics.prnu.predictors import FeaturePredictor


def sliding_window(
    signals: Signals, model: WindowModel, stride: int = 8, gain: float | None = None
) -> LocalMaps:
    """Tampering probability of the window around every cell.

    Windows that the border cuts hold fewer pixels, so both spreads are widened there.

    Args:
        signals: the image and its fingerprint.
        model: predictor and spreads for the window's size.
        stride: side of a cell in pixels.
        gain: how strongly the image shows its fingerprint, where it is known already.
    """
    rho = ncc_field(signals.W, signals.Z, model.window, stride)
    rho_hat = dense_prediction(signals, model, stride)
    saturation = box_mean(signals.saturation, model.window, stride)
    full = model.window**2 / _pixels(signals.height, signals.width, model.window, stride)
    sigma0 = (model.sigma0 * full.sqrt()).to(rho.device)
    error = max(model.sigma1**2 - model.sigma0**2, 0.0)  # of the prediction itself
    sigma1 = (sigma0**2 + error).sqrt() if error else sigma0 * (model.sigma1 / model.sigma0)
    if gain is None:
        found = find_gain(rho, rho_hat, sigma0, sigma1, saturation) if model.image_gain else 1.0
    else:
        found = gain
    rho_hat, probability = judge(rho, found * rho_hat, sigma0, sigma1, saturation)
    return LocalMaps(rho, rho_hat, probability, found)


def dense_prediction(signals: Signals, model: WindowModel, stride: int) -> torch.Tensor:
    """Predicted correlation of the window around every cell, at least 0."""
    predictor = model.predictor
    if isinstance(predictor, FeaturePredictor):
        maps = feature_maps(signals.features, model.window, stride)
        rho_hat: torch.Tensor = predictor.predict_features(maps)
    else:
        rho_hat = predictor.predict_dense(signals.rgb, stride)
    return rho_hat.clamp(min=0)


def _pixels(height: int, width: int, window: int, stride: int) -> torch.Tensor:
    """How many pixels of the window around each cell lie inside the image."""
    inside = []
    for size in (height, width):
        centre = (torch.arange(-(-size // stride)) * stride + stride // 2).clamp(max=size - 1)
        start = centre - window // 2
        inside.append((start + window).clamp(max=size) - start.clamp(min=0))
    return torch.outer(*inside).to(torch.float64)
