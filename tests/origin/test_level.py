"""Levelling takes away what collections differ in, and nothing else."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from forensics.decode import decode
from forensics.origin.level import LevelSettings, compressed_harder, level
from forensics.prnu.recompress import recompress
from forensics.records import NotApplicable
from tests.origin.networks import of_class

SETTINGS = LevelSettings(smallest=40, largest=60, jpeg_qualities=(70, 90))


def test_it_crops_and_compresses_and_never_resizes() -> None:
    rgb = of_class(0, 0, 80, 50)
    before = rgb.copy()
    found = level(rgb, "a", SETTINGS)
    assert np.array_equal(rgb, before)
    assert found.shape == (60, 50, 3)
    matches = [
        (top, quality)
        for top in range(21)
        for quality in range(70, 91)
        if np.array_equal(recompress(np.ascontiguousarray(rgb[top : top + 60]), quality), found)
    ]
    assert len(matches) == 1


def test_place_and_quality_follow_from_the_name() -> None:
    rgb = of_class(0, 0, 90, 90)
    assert np.array_equal(level(rgb, "a", SETTINGS), level(rgb, "a", SETTINGS))
    others = [level(rgb, name, SETTINGS).tobytes() for name in "abcdef"]
    assert len(set(others)) == 6
    assert not np.array_equal(
        level(rgb, "a", SETTINGS), level(rgb, "a", SETTINGS.model_copy(update={"seed": 1}))
    )


def test_qualities_are_the_whole_range_and_nothing_beyond(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = set()

    def note(rgb: np.ndarray, quality: int) -> np.ndarray:
        seen.add(quality)
        return rgb

    monkeypatch.setattr("forensics.origin.level.recompress", note)
    for k in range(300):
        level(of_class(0, 0, 40, 40), f"image{k}", SETTINGS)
    assert seen == set(range(70, 91))


def test_small_images_are_left_out() -> None:
    assert level(of_class(0, 0, 40, 300), "a", SETTINGS).shape == (40, 60, 3)
    with pytest.raises(NotApplicable, match="300x39 pixels are below the common range"):
        level(of_class(0, 0, 39, 300), "a", SETTINGS)


def test_images_compressed_harder_before_are_told() -> None:
    for quality, harder in ((69, True), (70, False), (95, False)):
        file = io.BytesIO()
        Image.fromarray(of_class(0, 0)).save(file, "JPEG", quality=quality)
        assert compressed_harder(decode(file.getvalue()).jpeg_quality, SETTINGS) == harder
    assert not compressed_harder(None, SETTINGS)


def test_ranges_that_run_backwards_are_refused() -> None:
    for wrong in ({"smallest": 50, "largest": 40}, {"jpeg_qualities": (90, 70)}):
        with pytest.raises(ValidationError, match="must not exceed"):
            LevelSettings.model_validate(wrong)
