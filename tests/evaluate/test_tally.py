"""Counts per cell give the numbers of the map repeated to the size of the image."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from forensics.evaluate import metrics as m
from forensics.evaluate.tally import cell_areas, cell_counts, tally

VALUES = st.sampled_from([0.0, 0.2, 0.25, 0.5, 0.75, 1.0])
TAUS = [0.0, 0.1, 0.2, 0.3, 0.5, 0.9, 1.0]


@st.composite
def cases(draw):
    stride = draw(st.integers(1, 5))
    height, width = draw(st.integers(1, 13)), draw(st.integers(1, 13))
    shape = (-(-height // stride), -(-width // stride))
    values = draw(arrays(np.float32, shape, elements=VALUES.map(lambda v: float(np.float32(v)))))
    truth = draw(arrays(np.bool_, (height, width)))
    valid = draw(st.none() | arrays(np.bool_, (height, width)))
    return stride, values, truth, valid


@settings(max_examples=200)
@given(cases())
def test_every_measure_equals_that_of_the_repeated_map(case):
    stride, values, truth, valid = case
    height, width = truth.shape
    dense = np.kron(values, np.ones((stride, stride), np.float32))[:height, :width]
    keep = np.ones_like(truth) if valid is None else valid
    counts = tally(values, cell_counts(truth & keep, stride), cell_counts(~truth & keep, stride))
    for tau in TAUS:
        assert counts.confusion(tau) == m.confusion(dense, truth, tau, valid)
    if not keep.any():
        return
    np.testing.assert_allclose(counts.auc(), m.auc(dense, truth, valid), rtol=1e-12)
    np.testing.assert_array_equal(counts.f1_curve(TAUS), m.f1_curve(dense, truth, TAUS, valid))
    if (truth & keep).any():
        best, threshold = counts.f1_best()
        assert best == m.f1_best(dense, truth, valid)
        assert m.f1_fixed(dense, truth, threshold, valid) == best
        higher = [v for v in np.unique(dense[keep]) if v > threshold]
        assert all(m.f1_fixed(dense, truth, float(v), valid) < best for v in higher)


def test_cells_at_the_edges_are_smaller():
    np.testing.assert_array_equal(cell_areas(5, 7, 3), [[9, 9, 3], [6, 6, 2]])
    np.testing.assert_array_equal(cell_counts(np.ones((5, 7), bool), 3), cell_areas(5, 7, 3))
    assert cell_areas(2, 2, 8).tolist() == [[4]]


def test_counts_of_another_shape_are_refused():
    ones = np.ones((2, 2), np.int64)
    with pytest.raises(ValueError, match=r"map of shape \(3, 2\)"):
        tally(np.zeros((3, 2)), ones, ones)
