"""The baseline of the paper: the residual descriptor and a linear support vector machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.model_selection import GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from forensics.arrays import Array, like, to_tensor
from forensics.manipulation.descriptor import BINS, dense_histogram, frequencies, srm_histogram
from forensics.records import UserError

COSTS = (0.01, 0.1, 1.0)
"""Values of C to choose from, for features of deviation 1."""

_FOLDS = 3


class ResidualSVM:
    """Linear SVM on `descriptor.frequencies`, each brought to mean 0 and deviation 1.

    With more than two classes, one against the rest for each. What is learned is a matrix and a
    vector, which `state` gives as tensors (store them with safetensors).
    """

    def __init__(self) -> None:
        self._weight: torch.Tensor | None = None
        self._bias: torch.Tensor | None = None
        self.cost: float | None = None
        """C that was chosen; None until fitted."""

    def fit(
        self, patches: NDArray[np.uint8], labels: NDArray[np.int64], groups: NDArray[Any]
    ) -> Self:
        """Learn from uint8 (n, H, W) patches and their classes 0, 1, …

        C is the one of `COSTS` that does best on groups (n,), such as devices, that are left out.
        Raises `UserError` for fewer than two classes or groups.
        """
        if len(np.unique(labels)) < 2 or len(np.unique(groups)) < 2:
            raise UserError("an SVM needs patches of two classes and two groups at least")
        features = frequencies(srm_histogram(patches))
        folds = GroupKFold(min(_FOLDS, len(np.unique(groups))))
        pipelines = {
            cost: make_pipeline(StandardScaler(), LinearSVC(C=cost, dual=False)) for cost in COSTS
        }
        found = {
            cost: cross_val_score(pipeline, features, labels, groups=groups, cv=folds).mean()
            for cost, pipeline in pipelines.items()
        }
        self.cost = max(found, key=lambda cost: (found[cost], -cost))
        scaler, svm = (step for _, step in pipelines[self.cost].fit(features, labels).steps)
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

    def state(self) -> dict[str, torch.Tensor]:
        """``weight`` (k, 162) and ``bias`` (k,), float32."""
        if self._weight is None or self._bias is None:
            raise ValueError("this SVM has not been fitted")
        return {"weight": self._weight.clone(), "bias": self._bias.clone()}

    @classmethod
    def from_state(cls, state: Mapping[str, torch.Tensor]) -> Self:
        """The SVM back from its tensors. Raises `UserError` where they are not one's."""
        weight, bias = state.get("weight"), state.get("bias")
        if weight is None or bias is None or weight.shape != (*bias.shape, BINS):
            raise UserError(f"the state of an SVM needs weight (k, {BINS}) and bias (k,)")
        svm = cls()
        svm._weight, svm._bias = weight.to(torch.float32), bias.to(torch.float32)
        return svm
