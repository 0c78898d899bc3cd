"""Levelling takes away what collections differ in, and nothing else."""

from __future__ import annotations

import io

import numpy as np
import PIL.Image
import pytest
from pydantic import ValidationError
from scipy.fft import dctn
from scipy.ndimage import gaussian_filter

from forensics.decode import decode
from forensics.decode.jpeg import standard_tables
from forensics.origin.level import LevelSettings, compressed_alike, earlier_may_show, level
from forensics.prnu.recompress import recompress
from forensics.records import Image, NotApplicable, Rgb
from tests.origin.networks import of_class

SETTINGS = LevelSettings(smallest=40, largest=60, jpeg_qualities=(70, 90))


def test_it_crops_and_compresses_and_never_resizes() -> None:
    rgb = of_class(0, 0, 80, 50)
    before = rgb.copy()
    found = level(rgb, "a", SETTINGS)
    assert np.array_equal(rgb, before)
    assert found.shape[0] == 60
    assert 43 <= found.shape[1] < 50
    matches = [
        (top, quality)
        for top in range(21)
        for quality in range(70, 91)
        if np.array_equal(recompress(_part(rgb, top, 50 - found.shape[1]), quality), found)
    ]
    assert len(matches) == 1
    assert matches[0][0] % 8 > 0


@pytest.mark.parametrize("side", [48, 60, 64, 100])
def test_no_side_begins_where_a_block_of_the_file_does(
    monkeypatch: pytest.MonkeyPatch, side: int
) -> None:
    monkeypatch.setattr("forensics.origin.level.recompress", lambda rgb, _: rgb)
    places = np.indices((side, side)).astype(np.uint8)
    rgb = np.stack([*places, places[0]], 2)
    begins = set()
    for k in range(200):
        part = level(rgb, f"image{k}", SETTINGS)
        assert min(part.shape[:2]) >= SETTINGS.smallest
        assert max(part.shape[:2]) <= SETTINGS.largest
        begins |= set(part[0, 0, :2].tolist())
    last = max(7, side - SETTINGS.largest)
    assert begins == {k for k in range(last + 1) if k % 8}


def test_a_side_without_room_stays() -> None:
    assert level(of_class(0, 0, 40, 41), "a", SETTINGS).shape == (40, 40, 3)


def test_the_steps_of_an_earlier_compression_vanish() -> None:
    rng = np.random.default_rng(0)
    smooth = gaussian_filter(rng.normal(0, 900, (512, 512, 3)), (6, 6, 0)) + 120
    rgb = (smooth + rng.normal(0, 3, smooth.shape)).clip(0, 255).astype(np.uint8)
    settings = LevelSettings(largest=1024, jpeg_qualities=(90, 90))
    fresh, again = level(rgb, "a", settings), level(recompress(rgb, 75), "a", settings)
    aligned = recompress(recompress(rgb, 75), 90)
    # the coefficient (0, 1) in steps of quality 90: how far its histogram is from smooth
    assert _comb(aligned) > 0.4
    assert _comb(again) < _comb(fresh) + 0.05 < 0.3


def _comb(rgb: Rgb) -> float:
    """Total variation between a histogram's bins and the means of their neighbours."""
    grey = np.asarray(PIL.Image.fromarray(rgb).convert("L"), np.float64)
    height, width = (side // 8 * 8 for side in grey.shape)
    blocks = grey[:height, :width].reshape(height // 8, 8, width // 8, 8).swapaxes(1, 2)
    coefficients = dctn(blocks, axes=(2, 3), norm="ortho")[..., 0, 1]
    step = standard_tables(90)[0, 1]
    counts = np.bincount(np.rint(np.abs(coefficients) / step).astype(int).ravel(), minlength=12)
    shares = counts[1:12] / counts.sum()
    between = (shares[:-2] + shares[2:]) / 2
    return float(np.abs(shares[1:-1] - between).sum() / shares[1:-1].sum())


def _part(rgb: Rgb, top: int, left: int) -> Rgb:
    return np.ascontiguousarray(rgb[top : top + 60, left:])


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


def test_images_whose_earlier_compression_may_show_are_told() -> None:
    for quality, told in ((69, True), (89, True), (90, False), (95, False)):
        assert earlier_may_show(_saved("JPEG", quality=quality), SETTINGS) == told
    assert not earlier_may_show(_saved("PNG"), SETTINGS)
    assert earlier_may_show(_saved("WEBP", quality=95), SETTINGS)  # how hard is not known
    assert earlier_may_show(_saved("AVIF", quality=95), SETTINGS)


def _saved(format: str, **settings: int) -> Image:
    file = io.BytesIO()
    PIL.Image.fromarray(of_class(0, 0)).save(file, format, **settings)
    return decode(file.getvalue())


def test_a_whole_image_is_compressed_across_its_blocks_and_stays_in_place() -> None:
    rgb = of_class(0, 0, 61, 83)
    found = compressed_alike(rgb, 70)
    assert np.array_equal(found[4:, 4:], recompress(np.ascontiguousarray(rgb[4:, 4:]), 70))
    assert np.array_equal(found[:4], rgb[:4])
    assert np.array_equal(found[:, :4], rgb[:, :4])
    assert np.array_equal(compressed_alike(rgb[:3], 70), rgb[:3])
    with pytest.raises(NotApplicable, match="65501x1 pixels: JPEG"):
        compressed_alike(np.zeros((1, 65501, 3), np.uint8), 70)


def test_ranges_that_run_backwards_are_refused() -> None:
    for wrong in ({"smallest": 50, "largest": 40}, {"jpeg_qualities": (90, 70)}):
        with pytest.raises(ValidationError, match="must not exceed"):
            LevelSettings.model_validate(wrong)
