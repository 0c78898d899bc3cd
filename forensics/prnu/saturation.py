"""Where the sensor was saturated: there is no fingerprint there, and nothing to predict."""

from __future__ import annotations

import torch

from forensics.arrays import Array, like, to_tensor
from forensics.prnu.residual import gray

SATURATED = 0.7
"""A window whose mean saturation reaches this carries no evidence."""

_BRIGHT = 240.0


def saturation_plane(rgb: Array) -> Array:
    """Saturation of every pixel; its mean over a window is the measure S.

    Equations 7 and 8 of the CNN-predictor paper: ``1 − Q`` with ``Q = exp(−(I − 240)²/6)`` above an
    intensity of 240 and 1 up to it.

    Args:
        rgb: uint8 or float (H, W, 3), 0..255.

    Returns:
        float32 (H, W), 0..1.
    """
    over = (gray(to_tensor(rgb)) - _BRIGHT).clamp_(min=0)
    return like(rgb, over.square_().div_(-6).expm1_().neg_().to(torch.float32))
