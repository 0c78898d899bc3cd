"""From a correlation and its prediction to the probability that the fingerprint is absent.

H0 (tampered, fingerprint absent): the correlation is Gaussian with mean 0 and spread sigma0.
H1 (authentic): Gaussian with mean ``rho_hat`` (the prediction) and spread sigma1.
Chen, Fridrich, Goljan, Lukáš 2008, doi:10.1109/TIFS.2007.916285.
"""

from __future__ import annotations

import math

import torch

from forensics.arrays import Array, like, to_tensor


def tampering_probability(
    rho: Array, rho_hat: Array, sigma0: float | Array, sigma1: float | Array
) -> Array:
    """P(H0 | rho) for equal priors, computed from the logarithms.

    ``P = 1 / (1 + (sigma0/sigma1) exp(rho²/2sigma0² − (rho − rho_hat)²/2sigma1²))``.

    Args:
        rho: measured correlations, any shape, -1..1.
        rho_hat: predicted correlations of the same shape; negative ones count as 0.
        sigma0: spread under H0, above 0; one number or one per element.
        sigma1: spread under H1, likewise.

    Returns:
        float32 of the same shape, 0..1, never NaN. A correlation far above its prediction gives 0:
        where sigma1 < sigma0 the ratio of the Gaussians would turn back beyond
        ``rho_hat sigma0² / (sigma0² − sigma1²)`` and call it tampered, so the penalty for exceeding
        the prediction stops growing there. A correlation or prediction that is not finite carries
        no information: 0.5.

    Raises:
        ValueError: shapes differ, or a spread is not above 0.
    """
    measured = to_tensor(rho).to(torch.float64)
    predicted = to_tensor(rho_hat).to(measured).clamp(min=0)
    s0, s1 = _spread(sigma0, measured), _spread(sigma1, measured)
    if not measured.shape == predicted.shape == s0.shape == s1.shape:
        raise ValueError(
            f"rho {tuple(measured.shape)}, rho_hat {tuple(predicted.shape)} and the spreads "
            f"{tuple(s0.shape)}, {tuple(s1.shape)} differ in shape"
        )
    narrower = (s0**2 - s1**2).clamp(min=torch.finfo(measured.dtype).tiny)
    turn = torch.where(s1 < s0, predicted * s0**2 / narrower, math.inf)
    excess = torch.minimum(measured, turn) - predicted
    evidence = torch.log(s0 / s1) + measured**2 / (2 * s0**2) - excess**2 / (2 * s1**2)
    probability = torch.sigmoid(-evidence)
    known = measured.isfinite() & predicted.isfinite()
    return like(rho, torch.where(known, probability, 0.5).to(torch.float32))


def _spread(sigma: float | Array, measured: torch.Tensor) -> torch.Tensor:
    if isinstance(sigma, float | int):
        spread = torch.full_like(measured, sigma)
    else:
        spread = to_tensor(sigma).to(measured)
    if not bool((spread > 0).all()):
        raise ValueError("the spreads sigma0 and sigma1 must be above 0")
    return spread


def fit_sigma0(rho: Array) -> float:
    """Spread of a zero-mean Gaussian fitted to correlations without the fingerprint (H0).

    The root mean square. Raises `ValueError` for an empty array or one that is 0 throughout.
    """
    values = to_tensor(rho).to(torch.float64)
    spread = float(values.square().mean().sqrt()) if values.numel() else 0.0
    if not spread > 0:
        raise ValueError("sigma0 needs correlations that are not all 0")
    return spread
