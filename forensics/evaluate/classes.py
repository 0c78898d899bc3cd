"""Measures of answers among several classes."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def confusion_matrix(truth: ArrayLike, said: ArrayLike, classes: int) -> NDArray[np.int64]:
    """Counts, int64 (classes, classes): rows are true classes, columns those that were said.

    ``truth`` and ``said`` are (n,) numbers of classes, 0 … ``classes`` − 1.
    """
    places = np.asarray(truth, np.int64) * classes + np.asarray(said, np.int64)
    return np.bincount(places, minlength=classes**2).reshape(classes, classes)


def recalls(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """Part of each class that was called so, 0..1, (classes,); nan for a class without samples."""
    counts = confusion.sum(1)
    recall = np.full(len(confusion), np.nan)
    np.divide(np.diag(confusion), counts, out=recall, where=counts > 0)
    return recall


def balanced(confusion: NDArray[np.int64]) -> float:
    """Mean recall of the classes that are there, 0..1; nan where none is."""
    there = confusion.sum(1) > 0
    return float(recalls(confusion)[there].mean()) if there.any() else float("nan")
