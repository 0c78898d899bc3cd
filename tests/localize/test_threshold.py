"""Simple thresholding with morphology, and the score that goes with it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forensics.localize.threshold import score, stm


def square(side: int, value: float = 0.9, shape: tuple[int, int] = (40, 50)) -> np.ndarray:
    p = np.full(shape, 0.1, np.float32)
    p[5 : 5 + side, 7 : 7 + side] = value
    return p


def test_a_region_of_the_smallest_size_stays_and_a_smaller_one_goes() -> None:
    assert stm(square(8), stride=8, dilation_px=0).sum() == 64
    almost = square(8)
    almost[5, 7] = 0.1
    assert not stm(almost, stride=8, dilation_px=0).any()


def test_stride_scales_the_smallest_region() -> None:
    assert stm(square(4), stride=16, dilation_px=0).sum() == 16
    assert not stm(square(4), stride=8).any()


def test_regions_connect_along_corners() -> None:
    p = np.zeros((40, 40), np.float32)
    p[:6, :6] = p[6:12, 6:12] = 1
    assert stm(p, stride=8, dilation_px=0).sum() == 72


def test_the_threshold_itself_is_authentic() -> None:
    assert not stm(square(20, value=0.5), stride=8, tau=0.5).any()
    assert stm(square(20, value=0.5), stride=8, tau=0.49).any()


def test_dilation_is_a_disk_of_that_diameter() -> None:
    p = np.zeros((101, 101), np.float32)
    p[50, 50] = 1
    grown = stm(p, stride=1, min_region_px=1, dilation_px=20)
    y, x = np.mgrid[-50:51, -50:51]
    np.testing.assert_array_equal(grown, y**2 + x**2 <= 100)
    assert stm(p, stride=8, min_region_px=8, dilation_px=20).sum() == 5
    assert stm(p, stride=32, min_region_px=32, dilation_px=20).sum() == 1


def test_dilation_stops_at_the_border() -> None:
    p = np.zeros((10, 10), np.float32)
    p[0, 0] = 1
    assert stm(p, stride=1, min_region_px=1, dilation_px=4).sum() == 6


def test_nothing_and_everything() -> None:
    assert not stm(np.zeros((20, 20), np.float32), stride=8).any()
    assert stm(np.ones((20, 20), np.float32), stride=8).all()
    assert stm(np.zeros((1, 1), np.float32), stride=8).shape == (1, 1)


def test_input_is_not_changed() -> None:
    p = square(9)
    before = p.copy()
    stm(p, stride=8)
    score(p, stride=8)
    np.testing.assert_array_equal(p, before)


def test_score_is_the_level_of_the_best_region() -> None:
    assert score(square(8, 0.8), stride=8) == pytest.approx(0.8)
    assert score(square(7, 0.8), stride=8) == pytest.approx(0.1)
    assert score(np.ones((3, 3), np.float32), stride=8) == 0


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**32 - 1), stride=st.sampled_from([8, 16, 24, 32]))
def test_score_is_where_the_decision_turns_empty(seed: int, stride: int) -> None:
    rng = np.random.default_rng(seed)
    p = rng.integers(0, 12, (12, 15)).astype(np.float32) / 11
    level = score(p, stride)
    assert not stm(p, stride, tau=level).any()
    if level > 0:
        assert stm(p, stride, tau=level - 1e-3).any()
