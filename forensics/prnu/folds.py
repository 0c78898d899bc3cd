"""Predictors for windows of one size: from all images of a camera, and from all but some.

The error of a predictor counts on images that it has not seen; on its own it is too small.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch

from forensics.prnu.predictors import FeaturePredictor, LSEPredictor
from forensics.prnu.regression import Triangle, fit, image_gain
from forensics.prnu.sampling import Floats, PristineSample

FOLDS = 10


def folds(count: int) -> list[range]:
    """Images that are held out together: each alone up to ten, else ten runs of neighbours.

    Photos of one scene tend to be neighbours by name, and are then held out together.
    """
    edges = np.linspace(0, count, min(count, FOLDS) + 1).round().astype(int).tolist()
    return [range(start, end) for start, end in pairwise(edges)]


class Fitter:
    """Fits predictors of one kind to windows of one size.

    ``others`` are samples of other cameras, see `regression.fit`. With ``with_gains`` the
    correlations of an image count as a gain of that image times one function of the features.
    """

    def __init__(
        self,
        kind: type[FeaturePredictor],
        size: int,
        own: Sequence[PristineSample],
        others: Sequence[PristineSample] = (),
        with_gains: bool = True,
    ) -> None:
        self._kind, self._size, self._with_gains = kind, size, with_gains
        self._own = list(own)
        self._others = [sample for sample in others if len(sample.rho.get(size, ())) > 0]
        self._own_triangles = [_triangle(sample, size) for sample in self._own]
        self._other_triangles = [_triangle(sample, size) for sample in self._others]

    def all(self) -> FeaturePredictor:
        """Learned from all images."""
        return self._fit(range(len(self._own)))

    def unseen(self) -> list[FeaturePredictor]:
        """For each image one that has not seen it; where it is the only one, that it has."""
        count = len(self._own)
        if count < 2:
            return [self.all()] * count
        found: list[FeaturePredictor] = []
        for held_out in folds(count):
            predictor = self._fit([i for i in range(count) if i not in held_out])
            found += [predictor] * len(held_out)
        return found

    def predict(self, predictor: FeaturePredictor, sample: PristineSample) -> Floats:
        """What the detector would expect of the sample's windows, at the gain of its image."""
        rho_hat: Floats = predictor.predict_features(sample.features[self._size]).clip(min=0)
        if not self._with_gains:
            return rho_hat
        return rho_hat * np.float32(image_gain(sample.rho[self._size], rho_hat))

    def _fit(self, indices: Sequence[int]) -> FeaturePredictor:
        size = self._size
        own = [self._own[i] for i in indices]
        triangles = [self._own_triangles[i] for i in indices]
        found = fit(triangles, self._other_triangles, self._with_gains)
        if issubclass(self._kind, LSEPredictor):  # that is least squares already
            own_features = np.concatenate([sample.features[size] for sample in own])
            return self._kind().take(torch.from_numpy(found.theta), own_features, size)
        images = [*own, *self._others]
        counts = [len(sample.rho[size]) for sample in images]
        gains, weights = found.gains.repeat(counts), found.weights.repeat(counts)
        return self._kind().fit_features(
            np.concatenate([sample.features[size] for sample in images]),
            np.concatenate([sample.rho[size] for sample in images]) / gains,
            size,
            weights * gains**2,
        )


def _triangle(sample: PristineSample, size: int) -> Triangle:
    return Triangle.of(sample.features[size], sample.rho[size])
