"""Crops: equal to those of the whole image after the same edits; padding; the published choice."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from forensics.prnu.recompress import recompress
from forensics.train.trufor.augment import Augmentation, cut
from forensics.train.trufor.losses import FORGED, IGNORED, PRISTINE


def photo(height: int, width: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    rng = np.random.default_rng(0)
    ramp = np.linspace(40, 200, width)[:, None]
    rgb = np.rint(ramp + rng.normal(0, 20, (height, width, 3))).clip(0, 255).astype(np.uint8)
    mask = np.zeros((height, width), np.bool_)
    mask[height // 3 : height // 2, width // 4 :] = True
    return rgb, mask


def whole(rgb: Any, mask: Any, augmentation: Augmentation) -> tuple[Any, Any]:
    if augmentation.scale is not None:
        size = tuple(max(1, round(n * augmentation.scale)) for n in mask.shape[::-1])
        rgb = np.asarray(Image.fromarray(rgb).resize(size, Image.Resampling.BICUBIC))
        picture = Image.fromarray(mask.astype(np.uint8))
        mask = np.asarray(picture.resize(size, Image.Resampling.NEAREST)) > 0
    if augmentation.quality is not None:
        rgb = recompress(rgb, augmentation.quality)
    return rgb, mask


@pytest.mark.parametrize("scale", [None, 0.61, 1.43])
@pytest.mark.parametrize("quality", [None, 45])
def test_a_crop_is_cut_from_the_augmented_whole(scale: float | None, quality: int | None) -> None:
    rgb, mask = photo(210, 333)
    augmentation = Augmentation(scale, quality)
    edited, forged = whole(rgb, mask, augmentation)
    truth = np.where(forged, FORGED, PRISTINE)
    places = set()
    for seed in range(12):
        crop = cut(rgb, mask, 64, augmentation, np.random.default_rng(seed))
        assert (crop.height, crop.width) == (64, 64)
        rng = np.random.default_rng(seed)
        y, x = (int(rng.integers(n - 64 + 1)) for n in forged.shape)
        places.add((y % 8, x % 8))
        difference = np.abs(crop.pixels.astype(int) - edited[y : y + 64, x : x + 64])
        if scale is None:
            assert not difference.any()
        else:  # few pixels are rounded the other way, which compression then spreads a bit
            assert (difference > 0).mean() < (0.005 if quality is None else 0.05)
            assert difference.max() <= (1 if quality is None else 12)
        np.testing.assert_array_equal(crop.truth, truth[y : y + 64, x : x + 64])
    assert len(places) > 8  # at any position, not on the grid of JPEG


@pytest.mark.parametrize("augmentation", [Augmentation(), Augmentation(0.5, 80)])
def test_an_image_smaller_than_the_crop_is_padded(augmentation: Augmentation) -> None:
    rgb, mask = photo(40, 150)
    edited, forged = whole(rgb, mask, augmentation)
    crop = cut(rgb, mask, 96, augmentation, np.random.default_rng(0))
    height, width = len(edited), min(edited.shape[1], 96)
    assert (crop.height, crop.width) == (height, width)
    assert crop.pixels.shape == (96, 96, 3)
    assert not crop.pixels[height:].any()
    assert not crop.pixels[:, width:].any()
    assert (crop.truth[height:] == IGNORED).all()
    assert (crop.truth[:, width:] == IGNORED).all()
    inside = crop.truth[:height, :width]
    assert set(np.unique(inside)) == {PRISTINE, FORGED}
    found = [
        x
        for x in range(edited.shape[1] - width + 1)
        if (edited[:, x : x + width] == crop.pixels[:height, :width]).all()
    ]
    assert len(found) == 1
    assert ((inside == FORGED) == forged[:, found[0] : found[0] + width]).all()


def test_the_published_choice() -> None:
    drawn = [Augmentation.draw(np.random.default_rng(seed)) for seed in range(2000)]
    scales = [a.scale for a in drawn if a.scale is not None]
    qualities = [a.quality for a in drawn if a.quality is not None]
    assert len(scales) == pytest.approx(1000, abs=80)
    assert len(qualities) == pytest.approx(1000, abs=80)
    both = sum(a.scale is not None and a.quality is not None for a in drawn)
    assert both == pytest.approx(500, abs=70)
    assert 0.5 <= min(scales) < 0.51
    assert 1.49 < max(scales) <= 1.5
    assert (min(qualities), max(qualities)) == (30, 100)
    assert drawn[7] == Augmentation.draw(np.random.default_rng(7))
