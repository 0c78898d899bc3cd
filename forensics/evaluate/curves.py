"""Measures over every threshold: ROC, its area, F1 as a function of the threshold.

All count from the sorted scores of the forged and the pristine samples, so they are exact for any
scores, ties included, and take one sort.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.floating[Any]]
Bools = NDArray[np.bool_]


class Roc(NamedTuple):
    """``fpr[i]`` and ``tpr[i]`` are the rates of ``scores > thresholds[i]``; float64, (n + 1,)."""

    fpr: NDArray[np.float64]
    tpr: NDArray[np.float64]
    thresholds: NDArray[np.float64]


def roc(scores: ArrayLike, truth: ArrayLike, valid: ArrayLike | None = None) -> Roc:
    """Receiver operating characteristic at every distinct score, from (0, 0) to (1, 1).

    Arguments as in ``auc``. Thresholds fall from the highest score to -inf. A rate whose class is
    absent is nan.
    """
    forged, pristine = split(scores, truth, valid)
    forged.sort()
    pristine.sort()
    cuts = np.append(np.unique(np.concatenate([forged, pristine]))[::-1], -np.inf)
    return Roc(_share_above(pristine, cuts), _share_above(forged, cuts), cuts.astype(np.float64))


def auc(scores: ArrayLike, truth: ArrayLike, valid: ArrayLike | None = None) -> float:
    """Area under the ROC: the chance that a forged sample scores above a pristine one, ties 1/2.

    ``scores``: any shape, higher is more suspicious. ``truth``: same shape, bool (or 0 and 1), true
    where forged. ``valid``: same shape, bool, false where a sample is left out. Exact (the
    Mann-Whitney statistic). nan where a class is absent, since there is nothing to tell apart.
    Raises ValueError for shapes that differ, nan scores and a truth that is not binary.
    """
    forged, pristine = split(scores, truth, valid)
    if not forged.size or not pristine.size:
        return float("nan")
    forged.sort()
    pristine.sort()
    below = np.searchsorted(pristine, forged, side="left").sum(dtype=np.int64)
    not_above = np.searchsorted(pristine, forged, side="right").sum(dtype=np.int64)
    return float(int(below) + int(not_above)) / (2.0 * forged.size * pristine.size)


def f1_curve(
    scores: ArrayLike, truth: ArrayLike, thresholds: ArrayLike, valid: ArrayLike | None = None
) -> NDArray[np.float64]:
    """F1 of ``scores > t`` for every t of ``thresholds`` (any order), float64, of their shape.

    Arguments and conventions as in ``metrics.f1_fixed``, which it equals at every threshold.
    """
    forged, pristine = split(scores, truth, valid)
    cuts = np.asarray(thresholds).astype(forged.dtype)
    return f1_of_counts(
        _count_above(np.sort(forged), cuts), _count_above(np.sort(pristine), cuts), forged.size
    )


def f1_best(
    scores: ArrayLike,
    truth: ArrayLike,
    valid: ArrayLike | None = None,
    *,
    either_polarity: bool = False,
) -> float:
    """The highest F1 of any threshold, exact over all distinct scores; in 0..1.

    The threshold is chosen with the truth at hand, so this is an upper bound. A truth without a
    forged sample gives 1 (the threshold that calls nothing is perfect): average over forged images
    only. nan where no sample is valid. Arguments and errors as in ``auc``.

    ``either_polarity`` takes the better of the map and its inverse, as the code published with
    TruFor (Guillaro et al., CVPR 2023) does together with ``metrics.away_from_border``.
    """
    forged, pristine = split(scores, truth, valid)
    best = _best_f1(forged, pristine)
    return max(best, _best_f1(-forged, -pristine)) if either_polarity else best


def split(scores: ArrayLike, truth: ArrayLike, valid: ArrayLike | None) -> tuple[Floats, Floats]:
    """The valid scores of the forged and of the pristine samples; floating, (n,) each, copies."""
    values = np.asarray(scores)
    if not np.issubdtype(values.dtype, np.floating):
        values = values.astype(np.float64)
    forged = _binary(truth, "truth", values.shape)
    pristine = ~forged
    if valid is not None:
        keep = _binary(valid, "valid", values.shape)
        forged, pristine = forged & keep, pristine & keep
    classes = values[forged], values[pristine]
    if any(np.isnan(c).any() for c in classes):
        raise ValueError("scores contain nan; leave those samples out with `valid`")
    return classes


def f1_of_counts(tp: ArrayLike, fp: ArrayLike, n_forged: int) -> NDArray[np.float64]:
    """2 TP / (2 TP + FP + FN); 1 where nothing is forged and nothing called."""
    tp, called = np.asarray(tp, np.float64), np.asarray(tp, np.float64) + np.asarray(fp)
    total = called + n_forged
    return np.where(total > 0, 2 * tp / np.maximum(total, 1), 1.0)


def _best_f1(forged: Floats, pristine: Floats) -> float:
    if not forged.size:
        return 1.0 if pristine.size else float("nan")
    # The best cut ends at a forged score: going on to lower scores that are all pristine only adds
    # false alarms. So the forged scores are the only candidates.
    cuts, ties = np.unique(forged, return_counts=True)
    tp = np.cumsum(ties[::-1])[::-1]
    fp = pristine.size - np.searchsorted(np.sort(pristine), cuts, side="left")
    return float(f1_of_counts(tp, fp, forged.size).max())


def _count_above(ordered: Floats, cuts: Floats) -> NDArray[np.int64]:
    return ordered.size - np.searchsorted(ordered, cuts, side="right").astype(np.int64)


def _share_above(ordered: Floats, cuts: Floats) -> NDArray[np.float64]:
    if not ordered.size:
        return np.full(cuts.shape, np.nan)
    return _count_above(ordered, cuts) / ordered.size


def _binary(values: ArrayLike, name: str, shape: tuple[int, ...]) -> Bools:
    array = np.asarray(values)
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}, scores have {shape}; they must agree")
    if array.dtype != np.bool_ and not np.isin(array, (0, 1)).all():
        raise ValueError(f"{name} must be bool (or 0 and 1); threshold it first, as in mask > 127")
    return array.astype(np.bool_, copy=False)
