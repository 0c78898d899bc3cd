"""Manipulations: exact masks, where pasted pixels come from, seeds, what cannot be done."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest
from numpy.typing import NDArray

from forensics.synth.camera import SimulatedCamera
from forensics.synth.forgeries import Kind
from forensics.train.trufor.forge import ForgerySettings, manipulate

KINDS: tuple[Kind, ...] = get_args(Kind)


def photo(seed: int, height: int = 120, width: int = 160) -> NDArray[np.uint8]:
    return SimulatedCamera(seed, height, width).natural(0)


def settings(**changes: Any) -> ForgerySettings:
    return ForgerySettings(**changes)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(120, 160), (101, 67)])
def test_pixels_differ_inside_the_mask_alone(kind: Kind, size: tuple[int, int]) -> None:
    rgb, donor = photo(1, *size), photo(2, 200, 90)
    kept = rgb.copy(), donor.copy()
    areas = []
    for seed in range(12):
        forgery = manipulate(kind, rgb, np.random.default_rng(seed), settings(), donor)
        changed = (forgery.pixels != rgb).any(axis=-1)
        assert forgery.pixels.dtype == np.uint8
        assert not (changed & ~forgery.mask).any()
        assert changed[forgery.mask].mean() > 0.5
        areas.append(forgery.mask.mean())
    assert 0.004 < min(areas) < 0.02
    assert 0.05 < max(areas) < 0.21
    np.testing.assert_array_equal(rgb, kept[0])
    np.testing.assert_array_equal(donor, kept[1])


@pytest.mark.parametrize("kind", KINDS)
def test_the_seed_decides(kind: Kind) -> None:
    rgb, donor = photo(1), photo(2)
    made = [
        manipulate(kind, rgb, np.random.default_rng(seed), settings(), donor) for seed in (3, 3, 4)
    ]
    np.testing.assert_array_equal(made[0].pixels, made[1].pixels)
    assert not np.array_equal(made[0].mask, made[2].mask)


@pytest.mark.parametrize("kind", ["splice", "copymove"])
def test_without_edits_what_is_pasted_is_found_where_it_came_from(kind: Kind) -> None:
    rgb = photo(1)
    donor = photo(2, 90, 230) if kind == "splice" else rgb
    plain = settings(edited=0, feather=0, largest=0.05)
    forgery = manipulate(kind, rgb, np.random.default_rng(5), plain, donor)
    y, x = np.nonzero(forgery.mask)
    pasted = forgery.pixels[y, x]
    y, x = y - y.min(), x - x.min()
    places = [
        (top, left)
        for top in range(donor.shape[0] - y.max())
        for left in range(donor.shape[1] - x.max())
        if (donor[top + y[:3], left + x[:3]] == pasted[:3]).all()
        and (donor[top + y, left + x] == pasted).all()
    ]
    assert len(places) == 1


def test_small_holes_are_sometimes_filled_smoothly() -> None:
    rgb = photo(1)
    rough = []
    for seed in range(10):
        made = manipulate("removal", rgb, np.random.default_rng(seed), settings(largest=0.02))
        inside = made.mask[:, 1:] & made.mask[:, :-1]
        steps = np.abs(np.diff(made.pixels.astype(int), axis=1)).mean(axis=-1)
        before = np.abs(np.diff(rgb.astype(int), axis=1)).mean(axis=-1)
        rough.append(steps[inside].mean() / before[inside].mean())
    assert min(rough) < 0.5
    assert max(rough) > 0.7


def test_what_cannot_be_done_is_said() -> None:
    rgb = photo(1)
    with pytest.raises(ValueError, match="a splice needs a donor"):
        manipulate("splice", rgb, np.random.default_rng(0), settings())
    with pytest.raises(ValueError, match="no region of a 160x120 photo leaves room"):
        manipulate("splice", rgb, np.random.default_rng(0), settings(), rgb[:2, :2])
    huge = settings(smallest=0.6, largest=0.7, edited=0)
    with pytest.raises(ValueError, match="copymove: no region"):
        manipulate("copymove", rgb, np.random.default_rng(0), huge)
