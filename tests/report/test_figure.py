from __future__ import annotations

import numpy as np
import pytest

from forensics.records import Map
from forensics.report.figure import figure
from forensics.report.overlay import OUTLINE, heat_overlay


def photo(height, width):
    return np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)


def maps(height, width, stride):
    values = np.zeros((-(-height // stride), -(-width // stride)), np.float32)
    values[: values.shape[0] // 2 + 1, : values.shape[1] // 2 + 1] = 1
    return [Map("probability", stride, values), Map("decision", stride, values > 0.5)]


def found(sheet, picture):
    """Whether the sheet holds the picture, pixel for pixel."""
    h, w = picture.shape[:2]
    windows = np.lib.stride_tricks.sliding_window_view(sheet, (h, w, 3))[:, :, 0]
    corner = (sheet[: windows.shape[0], : windows.shape[1]] == picture[0, 0]).all(axis=2)
    return any((windows[i, j] == picture).all() for i, j in np.argwhere(corner))


def share(sheet, colour):
    return np.mean((sheet == colour).all(axis=2))


def test_image_and_heat_are_side_by_side_at_their_own_size():
    rgb = photo(60, 90)
    heat = maps(60, 90, 4)[0]
    sheet = figure(rgb, {"prnu": [heat]}, title="a.jpg")
    assert found(sheet, rgb)
    assert found(sheet, heat_overlay(rgb, heat))
    assert share(sheet, OUTLINE) == 0  # no decision: no outline, and none in the legend


def test_the_decision_is_outlined_on_its_detectors_heat():
    plain = figure(photo(60, 90), {"prnu": maps(60, 90, 4)[:1]})
    outlined = figure(photo(60, 90), {"prnu": maps(60, 90, 4)})
    assert plain.shape == outlined.shape
    assert share(outlined, OUTLINE) > 0.002
    alone = figure(photo(60, 90), {"x": maps(60, 90, 4)[1:]})
    assert share(alone, OUTLINE) > 0.002


def test_every_detector_and_kind_has_a_panel():
    probability, decision = maps(200, 300, 8)
    confidence = Map("confidence", 8, probability.values)
    few = figure(photo(200, 300), {"prnu": [probability, decision]})
    many = figure(
        photo(200, 300),
        {"prnu": [probability, decision], "trufor": [probability, decision, confidence]},
    )
    assert many.shape[0] * many.shape[1] > 1.5 * few.shape[0] * few.shape[1]


@pytest.mark.parametrize("longest", [320, 1280])
@pytest.mark.parametrize("stride", [1, 5, 64])
@pytest.mark.parametrize(
    ("height", "width"), [(1, 1), (7, 5), (3, 4000), (4000, 3), (700, 1100), (1100, 700)]
)
def test_any_shape_stays_within_the_bound(height, width, stride, longest):
    sheet = figure(photo(height, width), {"prnu": maps(height, width, stride)}, "title", longest)
    assert sheet.dtype == np.uint8
    assert sheet.shape[2] == 3
    assert max(sheet.shape) <= longest
    if min(height, width) > 100:
        assert max(sheet.shape) > 0.48 * longest


def test_a_large_image_fills_the_sheet_and_shows_its_heat():
    rgb = np.full((1500, 2000, 3), 90, np.uint8)
    sheet = figure(rgb, {"prnu": maps(1500, 2000, 16)})
    yellow = (sheet[..., 0] > 200) & (sheet[..., 1] > 200) & (sheet[..., 2] < 180)
    assert 0.05 < yellow.mean() < 0.2  # a quarter of one of the two panels


@pytest.mark.parametrize(
    "title", ["", "x" * 5000, "a\nb\x00c", "\udc80", "שלום", "🕵🏽‍♀️", "photo\u202egnp.exe"]
)
def test_any_title_is_drawn_in_one_line(title):
    one_line = figure(photo(50, 50), {}, title="x").shape
    sheet = figure(photo(50, 50), {}, title=title)
    assert sheet.shape[1] == one_line[1]
    assert sheet.shape[0] <= one_line[0]


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="at least 320"):
        figure(photo(5, 5), {}, longest=100)
    with pytest.raises(ValueError, match="cells"):
        figure(photo(5, 5), {"prnu": [Map("probability", 1, np.zeros((4, 5), np.float32))]})
