"""Sliding windows of several sizes, fused (SW-MS)."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from forensics.localize.fusion import adaptive_window
from forensics.localize.signals import LocalMaps, Signals
from forensics.localize.sizes import SizeModel
from forensics.localize.windows import sliding_window
from forensics.prnu.camera_model import WindowModel

_TYPICAL = 128  # pixels; the size that finds the gain: sure, and yet local


def multi_window(signals: Signals, models: Sequence[WindowModel], stride: int = 8) -> LocalMaps:
    """Tampering probability of every cell, at the smallest window that is sure enough there.

    `sliding_window` at every size, the probabilities fused by `adaptive_window`. The image has one
    gain, found at the size nearest to 128 pixels among the models that use it.

    Args:
        signals: the image and its fingerprint.
        models: predictor and spreads for every window size, in any order.
        stride: side of a cell in pixels.

    Returns:
        Correlation and prediction are those of the window that was accepted.

    Raises:
        ValueError: no model, or two of one size.
    """
    ordered = SizeModel(models).models
    gained = [model for model in ordered if model.image_gain]
    found = {}
    gain = 1.0
    if gained:
        first = min(gained, key=lambda model: abs(model.window - _TYPICAL))
        found[first.window] = sliding_window(signals, first, stride)
        gain = found[first.window].gain
    for model in ordered:
        if model.window not in found:
            own = gain if model.image_gain else 1.0
            found[model.window] = sliding_window(signals, model, stride, own)
    maps = [found[model.window] for model in ordered]
    probability, scale = adaptive_window(torch.stack([m.probability for m in maps]))

    def accepted(planes: list[torch.Tensor]) -> torch.Tensor:
        return torch.stack(planes).take_along_dim(scale.long()[None], dim=0)[0]

    return LocalMaps(
        rho=accepted([m.rho for m in maps]),
        rho_hat=accepted([m.rho_hat for m in maps]),
        probability=probability,
        gain=gain,
    )
