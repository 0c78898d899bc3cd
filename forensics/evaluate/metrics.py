"""Measures at one threshold, and the public names of the evaluation.

A sample (a pixel or an image) is called tampered where its score is greater than the threshold;
the threshold is first rounded to the dtype of the scores, as NumPy's ``scores > 0.3`` does.
``truth`` is true where forged; ``valid`` is false where a sample is left out of the count.

Where a denominator is empty: F1 and IoU are 1 when nothing is forged and nothing called (a perfect
answer to a pristine image) and therefore 0 at the first false alarm; MCC follows Chicco and Jurman;
a measure that needs both classes (AUC, balanced accuracy) is nan when one is absent; every measure
is nan when no sample is valid.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import nan, sqrt

import numpy as np
from numpy.typing import ArrayLike
from scipy.ndimage import maximum_filter, minimum_filter

from forensics.evaluate.curves import Bools, Roc, auc, f1_best, f1_curve, roc, split

__all__ = [
    "Confusion",
    "Roc",
    "adjusted_r2",
    "auc",
    "away_from_border",
    "balanced_accuracy",
    "confusion",
    "f1_best",
    "f1_curve",
    "f1_fixed",
    "iou",
    "mcc",
    "roc",
]


@dataclass(frozen=True, slots=True)
class Confusion:
    """Counts of samples. Counts of several images add up: ``a + b``."""

    tp: int = 0
    fp: int = 0
    fn: int = 0
    tn: int = 0

    def __add__(self, other: Confusion) -> Confusion:
        return Confusion(
            self.tp + other.tp, self.fp + other.fp, self.fn + other.fn, self.tn + other.tn
        )

    @property
    def inverted(self) -> Confusion:
        """The counts of the opposite decision."""
        return Confusion(tp=self.fn, fp=self.tn, fn=self.tp, tn=self.fp)

    @property
    def f1(self) -> float:
        return self._overlap(2 * self.tp, 2 * self.tp + self.fp + self.fn)

    @property
    def iou(self) -> float:
        return self._overlap(self.tp, self.tp + self.fp + self.fn)

    @property
    def balanced_accuracy(self) -> float:
        forged, pristine = self.tp + self.fn, self.tn + self.fp
        return (self.tp / forged + self.tn / pristine) / 2 if forged and pristine else nan

    @property
    def mcc(self) -> float:
        tp, fp, fn, tn = self.tp, self.fp, self.fn, self.tn
        product = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
        if product:
            return (tp * tn - fp * fn) / sqrt(product)
        if not tp + fp + fn + tn:
            return nan
        only_right, only_wrong = not fp + fn and not tp * tn, not tp + tn and not fp * fn
        return 1.0 if only_right else -1.0 if only_wrong else 0.0

    def _overlap(self, part: int, whole: int) -> float:
        if whole:
            return part / whole
        return 1.0 if self.tn else nan


def confusion(
    scores: ArrayLike, truth: ArrayLike, threshold: float = 0.5, valid: ArrayLike | None = None
) -> Confusion:
    """Counts of ``scores > threshold`` against the truth; arguments and errors as in ``auc``."""
    forged, pristine = split(scores, truth, valid)
    cut = float(threshold)  # a NumPy float64 would not be rounded to the dtype of the scores
    tp, fp = int(np.count_nonzero(forged > cut)), int(np.count_nonzero(pristine > cut))
    return Confusion(tp=tp, fp=fp, fn=forged.size - tp, tn=pristine.size - fp)


def f1_fixed(
    scores: ArrayLike,
    truth: ArrayLike,
    threshold: float = 0.5,
    valid: ArrayLike | None = None,
    *,
    either_polarity: bool = False,
) -> float:
    """F1 at a fixed threshold, 0..1; ``either_polarity`` as in ``f1_best``."""
    counts = confusion(scores, truth, threshold, valid)
    return max(counts.f1, counts.inverted.f1) if either_polarity else counts.f1


def iou(
    scores: ArrayLike, truth: ArrayLike, threshold: float = 0.5, valid: ArrayLike | None = None
) -> float:
    """Intersection over union of the called and the forged samples, 0..1."""
    return confusion(scores, truth, threshold, valid).iou


def mcc(
    scores: ArrayLike, truth: ArrayLike, threshold: float = 0.5, valid: ArrayLike | None = None
) -> float:
    """Matthews correlation coefficient, -1..1.

    Where its formula is 0/0: +1 when all counts are true positives or all true negatives, -1 when
    all are false positives or all false negatives, else 0 (Chicco and Jurman, BMC Genomics 21:6,
    2020, doi:10.1186/s12864-019-6413-7).
    """
    return confusion(scores, truth, threshold, valid).mcc


def balanced_accuracy(
    scores: ArrayLike, truth: ArrayLike, threshold: float = 0.5, valid: ArrayLike | None = None
) -> float:
    """Mean of the true positive and the true negative rate, 0..1; nan where a class is absent."""
    return confusion(scores, truth, threshold, valid).balanced_accuracy


def adjusted_r2(y: ArrayLike, y_hat: ArrayLike, n_features: int) -> float:
    """1 - (1 - R²)(n - 1)/(n - n_features - 1): R² corrected for the number of regressors.

    ``y`` and ``y_hat`` have one shape with n values; ``n_features`` does not count the constant
    term. At most 1. nan where y is constant, since there is nothing to explain. Raises ValueError
    for shapes that differ and for n < n_features + 2.
    """
    observed, predicted = np.asarray(y, np.float64), np.asarray(y_hat, np.float64)
    if observed.shape != predicted.shape:
        raise ValueError(f"y has shape {observed.shape}, y_hat {predicted.shape}; they must agree")
    n = observed.size
    if n < n_features + 2:
        raise ValueError(
            f"adjusted R² of {n_features} features needs {n_features + 2} samples, got {n}"
        )
    spread = float(np.square(observed - observed.mean()).sum())
    if np.ptp(observed) == 0:
        return nan
    unexplained = float(np.square(observed - predicted).sum()) / spread
    return 1 - unexplained * (n - 1) / (n - n_features - 1)


def away_from_border(truth: ArrayLike, erode: int = 15, dilate: int = 11) -> Bools:
    """The pixels that the TruFor protocol counts, for use as ``valid``: bool, shape of ``truth``.

    A mask is least certain along its border, and resampling blurs it there. Forged pixels count
    where the ``erode`` x ``erode`` square around them is all forged, pristine pixels where the
    ``dilate`` x ``dilate`` square around them is all pristine (the picture is mirrored at its
    edges). Sizes as in the code published with TruFor (Guillaro et al., CVPR 2023), which also
    scores with ``either_polarity=True``. A forged region narrower than ``erode`` vanishes; check
    that ``(truth & valid).any()`` before averaging.
    """
    mask = np.asarray(truth, np.bool_)
    if mask.ndim != 2:
        raise ValueError(f"truth must be a mask of shape (H, W), got {mask.shape}")
    inside = minimum_filter(mask, erode, mode="reflect")
    outside = ~maximum_filter(mask, dilate, mode="reflect")
    return np.asarray(inside | outside)
