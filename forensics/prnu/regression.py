"""Least squares over many images, each of which shows the fingerprint more or less strongly.

Settings that the features cannot see (JPEG quality, ISO, sharpening in the camera) weaken the
fingerprint in a whole image. Left alone they look like errors of the predictor and blur it; so the
correlations are modelled as one function of the features times a gain per image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from forensics.arrays import to_tensor
from forensics.prnu.features import DESIGN_TERMS, design

MAX_GAIN = 1.5
BORROWED = 3
_MIN_GAIN = 1e-3
_ROUNDS = 8  # of the alternation between coefficients and gains; it settles after four or five

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Triangle:
    """All that least squares needs to know of an image's windows: an R factor of (design | rho)."""

    factor: Floats  # (min(n, 16), 16)

    @classmethod
    def of(cls, features: NDArray[np.float32], rho: NDArray[np.float32]) -> Triangle:
        """From (n, 4) features and (n,) correlations."""
        rows = design(np.asarray(features, np.float64))
        both = np.column_stack([rows, np.asarray(rho, np.float64)])
        factor: Floats = np.asarray(np.linalg.qr(both, mode="r"))
        return cls(factor)

    @property
    def terms(self) -> Floats:
        """Rows that stand for the design rows."""
        return self.factor[:, :DESIGN_TERMS]

    @property
    def target(self) -> Floats:
        """What these rows should give."""
        return self.factor[:, DESIGN_TERMS]

    def gain(self, theta: Floats) -> float:
        """How strongly the image shows what ``theta`` predicts; positive."""
        predicted = self.terms @ theta
        energy = float(predicted @ predicted)
        return max(float(predicted @ self.target) / energy, _MIN_GAIN) if energy > 0 else 1.0


class LeastSquares(NamedTuple):
    """Coefficients of the design terms, and what each image showed of them."""

    theta: Floats  # (15,), for an image of the camera's average gain
    gains: Floats  # one per image, the camera's own first, which average 1
    weights: Floats  # how much each image counts


def fit(
    own: Sequence[Triangle], others: Sequence[Triangle] = (), with_gains: bool = True
) -> LeastSquares:
    """Least squares over the windows of a camera's images, in turns with a gain per image.

    ``others`` are images of other cameras: they show how the features act where the camera's own
    images are too few. Together they count as much as `BORROWED` images of the camera. Without
    ``with_gains`` all gains are 1: the papers' plain least squares.
    """
    images = [*own, *others]
    borrowed = min(1.0, BORROWED / max(len(others), 1))
    weights = np.array([1.0] * len(own) + [borrowed] * len(others))
    gains = np.ones(len(images))
    theta = _solve(images, weights, gains)
    for _ in range(_ROUNDS if with_gains and len(images) > 1 else 0):
        gains = np.array([image.gain(theta) for image in images])
        gains /= gains[: len(own)].mean()
        theta = _solve(images, weights, gains)
    return LeastSquares(theta, gains, weights)


def image_gain(rho: Any, rho_hat: Any, weights: Any = None) -> float:
    """How strongly an image shows its fingerprint, as a multiple of what was predicted.

    Least squares through zero over all its windows, 0..`MAX_GAIN`; 1 where nothing was predicted.
    A tampered part lowers it by about its share of the image. ``weights``: how much each window
    counts, all alike if None.
    """
    measured = to_tensor(rho).to(torch.float64)
    predicted = to_tensor(rho_hat).to(measured).clamp(min=0)
    weighted = predicted if weights is None else predicted * to_tensor(weights).to(measured)
    energy = float((weighted * predicted).sum())
    gain = float((weighted * measured).sum()) / energy if energy > 0 else 1.0
    return min(max(gain, 0.0), MAX_GAIN)


def _solve(images: Sequence[Triangle], weights: Floats, gains: Floats) -> Floats:
    roots = np.sqrt(weights)
    rows = np.concatenate([r * g * i.terms for i, r, g in zip(images, roots, gains, strict=True)])
    target = np.concatenate([r * i.target for i, r in zip(images, roots, strict=True)])
    # Minimum norm where the images leave a term undetermined (no saturation, one brightness).
    theta: Floats = np.linalg.lstsq(rows, target, rcond=1e-10)[0]
    return theta
