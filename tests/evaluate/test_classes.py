"""Answers among several classes, counted by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score
from sklearn.metrics import confusion_matrix as reference

from forensics.evaluate.classes import balanced, confusion_matrix, recalls


def test_rows_are_the_truth() -> None:
    confusion = confusion_matrix([0, 0, 0, 2], [0, 1, 1, 2], 3)
    assert confusion.tolist() == [[1, 2, 0], [0, 0, 0], [0, 0, 1]]
    assert recalls(confusion) == pytest.approx([1 / 3, math.nan, 1], nan_ok=True)
    assert balanced(confusion) == pytest.approx(2 / 3)


def test_nothing_is_counted_of_nothing() -> None:
    confusion = confusion_matrix([], [], 2)
    assert confusion.tolist() == [[0, 0], [0, 0]]
    assert math.isnan(balanced(confusion))


def test_equal_to_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    truth, said = rng.integers(4, size=(2, 200))
    confusion = confusion_matrix(truth, said, 4)
    assert np.array_equal(confusion, reference(truth, said, labels=range(4)))
    assert balanced(confusion) == pytest.approx(balanced_accuracy_score(truth, said))
