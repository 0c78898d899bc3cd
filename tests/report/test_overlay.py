from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from forensics.records import Map
from forensics.report.overlay import (
    OUTLINE,
    encode_picture,
    fit,
    heat_overlay,
    outline,
    scale_bar,
    shrink,
)


def photo(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_heat_is_grey_at_zero_and_colour_at_one():
    rgb = photo(6, 8)
    values = np.zeros((3, 4), np.float32)
    values[1, 2] = 1
    shown = heat_overlay(rgb, Map("probability", 2, values))
    hot = np.zeros((6, 8), bool)
    hot[2:4, 4:6] = True
    grey = np.asarray(Image.fromarray(rgb).convert("L")).astype(int)
    np.testing.assert_allclose(shown[~hot].astype(int), np.c_[[grey[~hot]] * 3].T, atol=1)
    # The end of inferno is (252, 255, 164), here with an opacity of 0.85.
    expected = 0.85 * np.array([252, 255, 164]) + 0.15 * grey[hot][:, None]
    np.testing.assert_allclose(shown[hot], expected, atol=1.5)


def test_heat_differs_more_from_grey_the_higher_the_value():
    rgb = np.full((1, 256, 3), 128, np.uint8)
    ramp = Map("probability", 1, np.linspace(0, 1, 256, dtype=np.float32)[None])
    saturation = np.ptp(heat_overlay(rgb, ramp)[0].astype(int), axis=1)
    assert saturation[0] == 0
    assert (np.diff(saturation[::32]) > 0).sum() >= 6
    np.testing.assert_array_equal(scale_bar(256, 3)[1], heat_overlay(rgb, ramp)[0])


@settings(max_examples=60)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 17), st.data())
def test_each_pixel_gets_the_value_of_its_cell(height, width, stride, data):
    rows, columns = -(-height // stride), -(-width // stride)
    seed = data.draw(st.integers(0, 99))
    decision = np.random.default_rng(seed).random((rows, columns)) < 0.5
    fitted = fit(Map("decision", stride, decision), (height, width))
    i, j = np.indices((height, width)) // stride
    assert fitted.stride == 1
    np.testing.assert_array_equal(fitted.values, decision[i, j])
    probability = decision.astype(np.float32) * 0.6
    fitted = fit(Map("probability", stride, probability), (height, width))
    np.testing.assert_allclose(fitted.values, probability[i, j], atol=1 / 255)


def test_shrinking_averages_a_probability_and_keeps_a_small_region():
    values = np.zeros((64, 64), np.float32)
    values[5, 9] = 1
    probability = fit(Map("probability", 1, values), (64, 64), (8, 8)).values
    assert probability.max() == pytest.approx(1 / 64, abs=1 / 255)
    decision = fit(Map("decision", 1, values > 0), (64, 64), (8, 8)).values
    assert decision.sum() == 1
    assert decision[0, 1]


def test_outline_follows_the_region_and_leaves_the_rest():
    rgb = np.full((40, 50, 3), 200, np.uint8)
    region = np.zeros((40, 50), bool)
    region[10:30, 20:50] = True  # touches the right edge
    shown = outline(rgb, Map("decision", 1, region), width=2)
    line = (shown == OUTLINE).all(axis=2)
    expected = region.copy()
    expected[12:28, 22:48] = False
    np.testing.assert_array_equal(line, expected)
    casing = (shown == 80).all(axis=2)
    assert casing.sum() == 2 * 31 + 20
    assert (shown[~line & ~casing] == 200).all()


def test_outline_shows_a_single_pixel_a_full_region_and_nothing_for_none():
    rgb = photo(9, 9)
    one = np.zeros((9, 9), bool)
    one[4, 4] = True
    assert (outline(rgb, Map("decision", 1, one))[4, 4] == OUTLINE).all()
    full = (outline(rgb, Map("decision", 1, ~one | one)) == OUTLINE).all(axis=2)
    assert full[0].all()
    assert full[:, -1].all()
    assert not full[2:-2, 2:-2].any()
    np.testing.assert_array_equal(outline(rgb, Map("decision", 1, one & False)), rgb)


def test_inputs_are_not_changed():
    rgb = photo(12, 12)
    values = np.random.default_rng(1).random((3, 3)).astype(np.float32)
    before = rgb.copy(), values.copy()
    heat_overlay(rgb, Map("probability", 4, values))
    outline(rgb, Map("decision", 4, values > 0.5))
    np.testing.assert_array_equal(rgb, before[0])
    np.testing.assert_array_equal(values, before[1])


def test_a_map_of_another_image_is_refused():
    with pytest.raises(ValueError, match="3 x 3 cells"):
        heat_overlay(photo(9, 10), Map("probability", 4, np.zeros((3, 4), np.float32)))


@pytest.mark.parametrize(
    ("size", "box", "expected"),
    [
        ((100, 200), (50, 50), (25, 50)),
        ((3, 4), (50, 50), (3, 4)),
        ((1, 5000), (40, 50), (1, 50)),
        ((5000, 2), (40, 50), (40, 1)),
    ],
)
def test_pictures_only_shrink(size, box, expected):
    assert shrink(photo(*size), *box).shape == (*expected, 3)


def test_pictures_are_encoded_as_named():
    smooth = np.broadcast_to(np.arange(64, dtype=np.uint8)[:, None, None], (64, 80, 3)).copy()
    for mime, kind in [("image/png", "PNG"), ("image/jpeg", "JPEG"), ("image/webp", "WEBP")]:
        back = Image.open(io.BytesIO(encode_picture(smooth, mime)))
        assert back.format == kind
        tolerance = 0 if kind == "PNG" else 6
        difference = np.abs(np.asarray(back.convert("RGB")).astype(int) - smooth)
        assert difference.max() <= tolerance
