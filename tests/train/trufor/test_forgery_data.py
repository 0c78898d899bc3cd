"""Crops of images with masks: equal parts of the data sets, the split, the order, what counts."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from forensics.evaluate.metrics import away_from_border
from forensics.records import UserError
from forensics.train.peers import Peers
from forensics.train.trufor import losses
from forensics.train.trufor.examples import Example
from forensics.train.trufor.forgery_data import CropBatch, ForgeryData
from forensics.train.trufor.losses import FORGED, IGNORED, PRISTINE
from forensics.train.trufor.settings import SupervisedSettings
from tests.train.trufor.made import examples, pair

SMALL: dict[str, Any] = {"batch": 4, "crop": 64, "seed": 2, "validation": 0.25}


def settings(**changes: Any) -> SupervisedSettings:
    return SupervisedSettings(**{**SMALL, **changes})


def constant(source: str, count: int, base: int) -> list[Example]:
    """Images whose value tells which one they are."""

    def read(value: int) -> Any:
        mask = np.zeros((64, 64), np.bool_)
        mask[:32] = value % 2
        return np.full((64, 64, 3), value, np.uint8), mask

    values = range(base, base + count)
    return [Example(f"{v:03d}", source, v % 2 == 1, None, partial(read, v)) for v in values]


def values(batches: list[CropBatch]) -> list[int]:
    return [int(crop[0, 0, 0]) for batch in batches for crop in batch.pixels]


def test_an_epoch_draws_equally_from_each_data_set() -> None:
    data = ForgeryData(
        constant("large", 40, 0) + constant("small", 12, 100), settings(augment=False)
    )
    held_out = {int(example.image_id) for example in data.validation_examples}
    assert Counter(value >= 100 for value in held_out) == {False: 10, True: 4}
    assert data.steps == 4  # 2 times the 8 left of the smaller set, in fours
    drawn = values(list(data.training(1)))
    assert Counter(value >= 100 for value in drawn) == {False: 8, True: 8}
    assert len(set(drawn)) == 16
    assert not held_out & set(drawn)
    seen = {value for epoch in range(1, 30) for value in values(list(data.training(epoch)))}
    assert seen | held_out == {*range(40), *range(100, 112)}
    more = ForgeryData(
        constant("large", 40, 0) + constant("small", 12, 100),
        settings(augment=False, per_source=25),
    )
    counts = Counter(v for v in values(list(more.training(1))) if v >= 100)
    assert sorted(counts.values()) == [3] * 7 + [4]  # each thrice before one comes again
    assert more.forged_share == 0.5


def test_a_split_that_the_manifest_names_is_kept() -> None:
    images = constant("a", 12, 0)
    images = [replace(e, split="validation") if int(e.image_id) < 4 else e for e in images]
    data = ForgeryData(images, settings(augment=False))
    assert [e.image_id for e in data.validation_examples] == ["000", "001", "002", "003"]
    assert values(list(data.validation())) == [0, 1, 2, 3]
    assert set(values(list(data.training(1)))) == set(range(4, 12))


def test_an_epoch_follows_from_seed_and_number_alone() -> None:
    images = examples(12)
    late = list(ForgeryData(images, settings()).training(3))
    data = ForgeryData(images[::-1], settings(threads=4, cache_gb=0))
    next(data.training(1))
    for one, other in zip(late, data.training(3), strict=True):
        assert one.pixels.equal(other.pixels)
        assert one.truth.equal(other.truth)
    assert not late[0].pixels.equal(next(data.training(4)).pixels)


def test_parts_of_a_batch_make_up_the_batch() -> None:
    data = ForgeryData(examples(18), settings(batch=5))
    whole = list(data.training(1))
    parts = [list(data.training(1, Peers(rank, 4))) for rank in range(4)]
    for batch, *shares in zip(whole, *parts, strict=True):
        order = np.argsort(np.concatenate([share.mine for share in shares]))
        for name in ("pixels", "truth", "forged", "inside"):
            joined = torch.cat([getattr(share, name) for share in shares])[order]
            assert joined.equal(getattr(batch, name))
        assert {share.size for share in shares} == {len(batch.pixels)}


def test_padding_is_grey_and_ignored() -> None:
    data = ForgeryData(examples(8, side=40), settings(augment=False))
    batch = next(data.training(1))
    assert (batch.truth[:, 40:] == IGNORED).all()
    assert (batch.truth[:, :, 40:] == IGNORED).all()
    assert (batch.truth[:, :40, :40] != IGNORED).all()
    rgb = batch.rgb(torch.device("cpu"))
    assert (rgb[:, :, 40:] == 127.5 / 256).all()
    torch.testing.assert_close(rgb[:, :, :40, :40], batch.pixels[:, :, :40, :40] / 256)
    assert batch.forged.equal((batch.truth == FORGED).sum(dim=(1, 2)) > 3)


def test_borders_of_masks_may_be_left_out() -> None:
    images = examples(8, side=50)
    plain, away = (
        next(ForgeryData(images, settings(augment=False), border).training(1))
        for border in (True, False)
    )
    assert plain.pixels.equal(away.pixels)
    assert plain.forged.equal(away.forged)
    assert plain.forged.any()
    for truth, left in zip(plain.truth.numpy(), away.truth.numpy(), strict=True):
        counted = away_from_border(truth[:50, :50] == FORGED)
        assert (left[:50, :50] == np.where(counted, truth[:50, :50], IGNORED)).all()
    assert (away.truth == PRISTINE).any()
    assert (away.truth == FORGED).any()


def test_validation_is_not_augmented_and_always_the_same() -> None:
    images = examples(12, side=64)
    data = ForgeryData(images, settings())
    pixels = torch.cat([batch.pixels for batch in data.validation()])
    assert pixels.equal(torch.cat([batch.pixels for batch in data.validation()]))
    for example, crop in zip(data.validation_examples, pixels, strict=True):
        number = int(example.image_id.rpartition("-")[2])
        whole = pair(number, example.forged, 64)[0]
        np.testing.assert_array_equal(crop.permute(1, 2, 0).numpy(), whole)


def corner(source: str, count: int, forged: int, pixels: int, side: int = 160) -> list[Example]:
    """Images of which so many have a small square forged in the upper left corner."""

    def read(value: int) -> Any:
        mask = np.zeros((side, side), np.bool_)
        mask[:pixels, :pixels] = value < forged
        return np.full((side, side, 3), value, np.uint8), mask

    return [
        Example(f"{source}-{v:03d}", source, v < forged, None, partial(read, v))
        for v in range(count)
    ]


@pytest.mark.parametrize("augment", [False, True])
def test_both_classes_of_crops_have_one_weight(augment: bool) -> None:
    """However few crops of a forged image show the forgery, and in however uneven data sets."""
    images = corner("a", 40, 30, 40) + corner("b", 24, 6, 90) + corner("c", 20, 0, 1)
    data = ForgeryData(images, settings(augment=augment, per_source=60))
    share = data.forged_share
    assert share < 0.25  # of the images it is 0.33
    assert share == ForgeryData(images[::-1], settings(augment=augment, per_source=9)).forged_share
    forged = torch.cat([b.forged for epoch in range(8) for b in data.training(epoch)])
    weights = losses.detection(torch.zeros(len(forged)), forged, share)
    assert weights[forged].sum().item() == pytest.approx(weights[~forged].sum().item(), rel=0.15)


def test_a_crop_that_shows_three_pixels_counts_as_pristine() -> None:
    def labels(pixels: int) -> Tensor:
        def read() -> Any:
            mask = np.zeros((64, 64), np.bool_)
            mask[5, 7 : 7 + pixels] = True
            return np.zeros((64, 64, 3), np.uint8), mask

        images = [Example(str(n), "a", True, None, read) for n in range(8)]
        data = ForgeryData(images, settings(augment=False))
        assert data.forged_share == float(pixels > 3)
        return next(data.training(1)).forged

    assert not labels(3).any()
    assert labels(4).all()


def test_images_too_few_are_refused() -> None:
    with pytest.raises(UserError, match="1 images, 0 of them forged: none of these is for train"):
        ForgeryData(examples(1), settings())
    with pytest.raises(UserError, match="0 of them forged"):
        ForgeryData([replace(e, forged=False) for e in examples(8)], settings())
    images = [replace(e, split="training" if e.forged else "validation") for e in examples(8)]
    with pytest.raises(UserError, match="4 of them forged: none of these is for validation"):
        ForgeryData(images, settings())
