"""What laundering makes of images and masks."""

from __future__ import annotations

import numpy as np
import pytest

from forensics.evaluate.study.laundering import Laundering
from forensics.prnu.recompress import recompress


def image(height: int = 40, width: int = 60) -> np.ndarray:  # type: ignore[type-arg]
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_nothing_asked_changes_nothing() -> None:
    rgb, mask = image(), image()[..., 0] > 127
    assert Laundering().apply(rgb) is rgb
    assert np.array_equal(Laundering().carry(mask), mask)


@pytest.mark.parametrize(
    ("laundering", "size"),
    [
        (Laundering(scale=0.5), (20, 30)),
        (Laundering(scale=1.5), (60, 90)),
        (Laundering(longest_side=45), (30, 45)),
        (Laundering(longest_side=60), (40, 60)),
        (Laundering(longest_side=100), (40, 60)),  # never enlarged
        (Laundering(scale=0.5, longest_side=45), (20, 30)),
    ],
)
def test_image_and_mask_get_the_same_size(laundering: Laundering, size: tuple[int, int]) -> None:
    mask = np.zeros((40, 60), np.bool_)
    mask[:20, :30] = True
    assert laundering.size(40, 60) == size
    assert laundering.apply(image()).shape == (*size, 3)
    carried = laundering.carry(mask)
    assert carried.shape == size
    assert carried[: size[0] // 2, : size[1] // 2].all()
    assert carried.mean() == pytest.approx(0.25, abs=0.01)


def test_compression_comes_last() -> None:
    small = Laundering(scale=0.5).apply(image())
    found = Laundering(scale=0.5, jpeg_quality=70).apply(image())
    assert np.array_equal(found, recompress(small, 70))
    assert not np.array_equal(found, small)
