"""Quality from quantisation tables, against Pillow's (libjpeg's) own encoder."""

from __future__ import annotations

import io

import numpy as np
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forensics.decode.jpeg import estimate_quality, standard_tables


def _tables(quality: int) -> dict[int, list[int]]:
    stream = io.BytesIO()
    PIL.Image.new("RGB", (8, 8)).save(stream, "JPEG", quality=quality)
    with PIL.Image.open(stream) as image:
        return dict(image.quantization)


@pytest.mark.parametrize("quality", range(1, 101))
def test_standard_tables_are_those_of_the_encoder(quality: int) -> None:
    written = _tables(quality)
    ours = standard_tables(quality)
    assert ours[0].tolist() == written[0]
    assert ours[1].tolist() == written[1]


@pytest.mark.parametrize("quality", range(1, 101))
def test_quality_is_exact_for_standard_tables(quality: int) -> None:
    luminance, chrominance = standard_tables(quality).tolist()
    assert estimate_quality(luminance, chrominance) == quality
    assert estimate_quality(luminance) == quality


def test_photoshop_like_tables_get_a_quality_of_similar_strength() -> None:
    # Photoshop "save for web" 60: finer at low frequencies, capped at high ones (exif samples).
    low = np.clip(standard_tables(75)[0], 3, 40).tolist()
    assert 70 <= estimate_quality(low) <= 85


@given(st.lists(st.integers(0, 65535), min_size=64, max_size=64))
def test_any_table_gives_a_quality(table: list[int]) -> None:
    assert 1 <= estimate_quality(table, table) <= 100


def test_finer_tables_never_get_a_lower_quality() -> None:
    base = standard_tables(30)[0]
    qualities = [estimate_quality((base // d).tolist()) for d in (1, 2, 4, 8, 16)]
    assert qualities == sorted(qualities)
    assert qualities[0] == 30


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match=r"1\.\.100"):
        standard_tables(0)
    with pytest.raises(ValueError, match="64 entries"):
        estimate_quality([1, 2, 3])
