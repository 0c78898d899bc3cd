"""Saturation of pixels and windows."""

from __future__ import annotations

import math

import numpy as np
import pytest

from forensics.prnu.saturation import SATURATED, saturation_plane


@pytest.mark.parametrize(
    ("level", "expected"),
    [(0, 0.0), (240, 0.0), (242, 1 - math.exp(-4 / 6)), (255, 1.0)],
)
def test_equations_7_and_8(level: int, expected: float) -> None:
    plane = saturation_plane(np.full((3, 4, 3), level, np.uint8))
    assert plane.dtype == np.float32
    np.testing.assert_allclose(plane, np.full((3, 4), expected), atol=1e-5)


def test_a_window_mostly_white_is_saturated() -> None:
    rgb = np.full((10, 10, 3), 100, np.uint8)
    rgb[:7] = 255
    assert saturation_plane(rgb).mean() == pytest.approx(SATURATED, abs=1e-6)
