"""The baseline of the paper: the residual descriptor and a linear support vector machine."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from forensics.arrays import Array, like, to_tensor
from forensics.manipulation.descriptor import dense_histogram, frequencies, srm_histogram
from forensics.manipulation.selection import device_accuracy, device_folds
from forensics.records import UserError

COSTS = (0.001, 0.01, 0.1, 1.0, 10.0)
"""Values of C to choose from, for features of deviation 1."""


class ResidualSVM:
    """Linear SVM on `descriptor.frequencies`, each brought to mean 0 and deviation 1.

    With more than two classes, one against the rest for each.
    """

    def __init__(self) -> None:
        self._weight: torch.Tensor | None = None
        self._bias: torch.Tensor | None = None
        self.cost: float | None = None
        """C that was chosen; None until fitted."""

    def fit(
        self, patches: NDArray[np.uint8], labels: NDArray[np.int64], devices: NDArray[Any]
    ) -> Self:
        """Learn from uint8 (n, H, W) patches and their classes 0, 1, …

        C is the one of `COSTS` that tells most patches of devices left out, as `selection` has it
        for the network's linear layer too. Raises `UserError` for fewer than two classes or
        devices.
        """
        folds = device_folds(devices)
        if len(np.unique(labels)) < 2 or not folds:
            raise UserError("an SVM needs patches of two classes and two devices at least")
        features = frequencies(srm_histogram(patches))
        found = {}
        for cost in COSTS:
            said = np.empty_like(labels)
            for learned, left_out in folds:
                fitted = _pipeline(cost).fit(features[learned], labels[learned])
                said[left_out] = fitted.predict(features[left_out])
            found[cost] = device_accuracy(said, labels, devices)
        self.cost = max(COSTS, key=lambda cost: found[cost])  # of equals the smallest
        scaler, svm = (step for _, step in _pipeline(self.cost).fit(features, labels).steps)
        weight = np.ascontiguousarray(svm.coef_ / scaler.scale_)
        bias = svm.intercept_ - weight @ scaler.mean_
        self._weight = torch.from_numpy(weight.astype(np.float32))
        self._bias = torch.from_numpy(bias.astype(np.float32))
        return self

    def decision(self, counts: Array) -> Array:
        """Signed distances, float32 (..., k) for (..., 162) counts.

        k is 1 for two classes (positive: class 1), else the number of classes.
        """
        if self._weight is None or self._bias is None:
            raise ValueError("this SVM has not been fitted")
        shares = to_tensor(frequencies(counts))
        return like(
            counts, shares @ self._weight.to(shares.device).mT + self._bias.to(shares.device)
        )

    def predict(self, patches: Array) -> Array:
        """Classes int64 (...,) of uint8 (..., H, W) patches."""
        distances = to_tensor(self.decision(srm_histogram(patches)))
        if distances.shape[-1] == 1:
            return like(patches, (distances[..., 0] > 0).to(torch.int64))
        return like(patches, distances.argmax(-1))

    def predict_dense(self, plane: Array, window: int, stride: int) -> Array:
        """float32 (rows, columns, k) distances of the windows of `descriptor.dense_histogram`."""
        return self.decision(dense_histogram(plane, window, stride))


def _pipeline(cost: float) -> Pipeline:
    return make_pipeline(StandardScaler(), LinearSVC(C=cost, dual=False))
