"""From correlations and predictions to probabilities, at the gain of the image."""

from __future__ import annotations

import torch

from forensics.localize.threshold import TAU
from forensics.prnu.hypothesis import tampering_probability
from forensics.prnu.regression import image_gain
from forensics.prnu.saturation import SATURATED

_ROUNDS = 3  # of fitting the gain to what looks authentic


def find_gain(
    rho: torch.Tensor,
    rho_hat: torch.Tensor,
    sigma0: torch.Tensor,
    sigma1: torch.Tensor,
    saturation: torch.Tensor,
    weights: torch.Tensor | None = None,
) -> float:
    """How strongly the image shows its fingerprint, as a multiple of the prediction.

    It takes up what weakens the fingerprint everywhere, such as a low JPEG quality. Windows that
    look tampered would pull it down for all the rest: they are left out, unless they are the
    majority; saturated ones say nothing.

    Args:
        rho, rho_hat, sigma0, sigma1, saturation: one value per window or segment, of one shape.
        weights: how much each counts, such as its pixels; all alike if None.
    """
    heavy = torch.ones_like(rho) if weights is None else weights.to(rho)
    telling = saturation < SATURATED
    gain = image_gain(rho[telling], rho_hat[telling], heavy[telling])
    for _ in range(_ROUNDS):
        probability = tampering_probability(rho, gain * rho_hat, sigma0, sigma1)
        authentic = (probability < TAU) & telling
        if 2 * float(heavy[authentic].sum()) < float(heavy[telling].sum()):
            break
        gain = image_gain(rho[authentic], rho_hat[authentic], heavy[authentic])
    return gain


def judge(
    rho: torch.Tensor,
    rho_hat: torch.Tensor,
    sigma0: torch.Tensor,
    sigma1: torch.Tensor,
    saturation: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Predictions and probabilities: where S reaches `SATURATED`, 0 and 0.5 (no evidence).

    All of one shape; ``rho_hat`` at the gain of the image.
    """
    silent = saturation >= SATURATED
    probability = tampering_probability(rho, rho_hat, sigma0, sigma1)
    return rho_hat.masked_fill(silent, 0.0), probability.masked_fill(silent, 0.5)
