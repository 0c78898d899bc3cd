"""Handcrafted features with discriminant analysis: what the CNN is compared with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, Self, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from forensics.origin import features
from forensics.records import Rgb, UserError

BaselineName = Literal["histogram", "saturation", "cooccurrence"]

FEATURES: Mapping[BaselineName, Callable[[Rgb], NDArray[np.float64]]] = {
    "histogram": features.histograms,
    "saturation": features.saturation,
    "cooccurrence": features.cooccurrence,
}
"""Features of a patch: (d,), or (groups, d) where each group has a classifier of its own."""


class Baseline:
    """Features of a patch and a linear discriminant analysis that makes them probabilities.

    Covariances are shrunk by as much as Ledoit and Wolf 2004 find best, since features add up to 1
    and may outnumber the images; classes are held to be equally likely beforehand. Of histograms
    each colour has its own classifier, and their probabilities are averaged. What is learned is a
    matrix and a vector for each, which `state` gives as tensors (store them with safetensors).
    """

    def __init__(self, name: BaselineName) -> None:
        if name not in FEATURES:
            raise UserError(f"no baseline {name!r}; there are: {', '.join(get_args(BaselineName))}")
        self.name = name
        self._weight: NDArray[np.float64] | None = None  # (groups, classes, d)
        self._bias: NDArray[np.float64] | None = None  # (groups, classes)

    def features(self, patches: Rgb) -> NDArray[np.float64]:
        """(n, groups, d) of uint8 (n, H, W, 3) patches."""
        found = np.stack([FEATURES[self.name](patch) for patch in patches])
        return found[:, None] if found.ndim == 2 else found

    def fit(self, patches: Rgb, labels: NDArray[np.int64], classes: int) -> Self:
        """Learn from uint8 (n, H, W, 3) patches of all of the classes 0 … ``classes`` − 1."""
        return self.fit_features(self.features(patches), labels, classes)

    def fit_features(
        self, values: NDArray[np.float64], labels: NDArray[np.int64], classes: int
    ) -> Self:
        """`fit` for those who have the `features` already."""
        if classes < 2 or not np.array_equal(np.unique(labels), np.arange(classes)):
            raise UserError(f"a baseline needs patches of all {classes} classes, two or more")
        weights, biases = zip(
            *(_discriminants(v, labels) for v in values.swapaxes(0, 1)), strict=True
        )
        self._weight, self._bias = np.stack(weights), np.stack(biases)
        return self

    def predict(self, patches: Rgb) -> NDArray[np.float32]:
        """Class probabilities, float32 (n, classes), of uint8 (n, H, W, 3) patches."""
        if self._weight is None or self._bias is None:
            raise ValueError("this baseline has not been fitted")
        if not len(patches):
            return np.empty((0, self._bias.shape[1]), np.float32)
        scores = np.einsum("ngd,gcd->ngc", self.features(patches), self._weight) + self._bias
        shares = torch.softmax(torch.from_numpy(scores), -1).mean(1)
        return shares.to(torch.float32).numpy()

    def state(self) -> dict[str, torch.Tensor]:
        """``weight`` (groups, classes, d) and ``bias`` (groups, classes), float64."""
        if self._weight is None or self._bias is None:
            raise ValueError("this baseline has not been fitted")
        return {"weight": torch.tensor(self._weight), "bias": torch.tensor(self._bias)}

    @classmethod
    def from_state(cls, name: BaselineName, state: Mapping[str, torch.Tensor]) -> Self:
        """The baseline back from its tensors. Raises `UserError` where they are not one's."""
        weight, bias = state.get("weight"), state.get("bias")
        if weight is None or bias is None or weight.ndim != 3 or weight.shape[:2] != bias.shape:
            raise UserError("a baseline's state is weight (groups, classes, d) and bias")
        baseline = cls(name)
        baseline._weight, baseline._bias = (t.to(torch.float64).numpy() for t in (weight, bias))
        return baseline


def _discriminants(
    values: NDArray[np.float64], labels: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(classes, d) and (classes,), whose soft-max is the posterior."""
    classes = int(labels.max()) + 1
    scale = values.std(0)
    kept = scale > 0  # what never changes tells nothing
    analysis = LinearDiscriminantAnalysis(
        solver="lsqr", shrinkage="auto", priors=np.full(classes, 1 / classes)
    )
    centre = values.mean(0)
    weight, bias = np.zeros((classes, values.shape[1])), np.zeros(classes)
    if kept.any():
        analysis.fit((values - centre)[:, kept] / scale[kept], labels)
        first = classes - len(analysis.coef_)  # of two classes only the second has a row
        weight[first:, kept] = analysis.coef_ / scale[kept]
        bias[first:] = analysis.intercept_ - weight[first:] @ centre
    return weight, bias
