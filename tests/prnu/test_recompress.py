"""Recompression gives what a JPEG file of that quality holds."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from forensics.decode import decode
from forensics.prnu.recompress import recompress
from tests.prnu.cameras import photo


def test_equals_a_file_written_and_decoded() -> None:
    rgb = photo(1, 0)[:99, :131]
    for quality in (100, 75):
        file = io.BytesIO()
        Image.fromarray(rgb).save(file, "JPEG", quality=quality)
        again = recompress(rgb, quality)
        np.testing.assert_array_equal(again, decode(file.getvalue()).pixels)
        assert again.dtype == np.uint8
        assert again.flags.writeable


def test_lower_quality_is_further_away() -> None:
    rgb = photo(1, 1)
    error = [np.abs(recompress(rgb, q).astype(int) - rgb).mean() for q in (100, 90, 80, 60)]
    assert error == sorted(error)
    assert error[0] < error[-1] / 2


def test_a_pixel_is_an_image() -> None:
    gray = np.full((1, 1, 3), 77, np.uint8)
    np.testing.assert_array_equal(recompress(gray, 95), gray)


@pytest.mark.parametrize("quality", [0, 101])
def test_quality_out_of_range(quality: int) -> None:
    with pytest.raises(ValueError, match=r"1\.\.100"):
        recompress(np.zeros((8, 8, 3), np.uint8), quality)


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((8, 8), np.uint8),
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((8, 8, 3), np.float32),
        np.zeros((0, 8, 3), np.uint8),
    ],
)
def test_other_pixels(pixels: np.ndarray) -> None:
    with pytest.raises(ValueError, match="uint8"):
        recompress(pixels, 90)
