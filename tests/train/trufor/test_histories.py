"""Editing histories: how many, what they do to pixels, and that a number always means the same."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from forensics.prnu.recompress import recompress
from forensics.train.trufor.histories import HISTORIES, MAX_SHRINK, History, history


def photo(side: int = 48) -> np.ndarray:
    rng = np.random.default_rng(0)
    ramp = np.linspace(40, 200, side)[:, None, None]
    return np.rint(ramp + rng.normal(0, 6, (side, side + 16, 3))).clip(0, 255).astype(np.uint8)


def test_all_histories_differ_and_a_number_always_means_the_same() -> None:
    chains = [history(number, seed=3) for number in range(HISTORIES)]
    assert len(set(chains)) == HISTORIES == 512
    assert chains == [history(number, seed=3) for number in range(HISTORIES)]
    assert chains[200] != history(200, seed=4)
    for other in (-1, HISTORIES):
        with pytest.raises(ValueError, match=r"0\.\.511"):
            history(other)


def test_every_edit_is_part_of_seven_in_eight_and_within_its_range() -> None:
    chains = [history(number) for number in range(HISTORIES)]
    scales = [chain.scale for chain in chains if chain.scale is not None]
    assert len(scales) == 7 * 64
    assert 1 / MAX_SHRINK <= min(scales) < 0.55
    assert 1.9 < max(scales) <= 2
    assert not any(0.97 < scale < 1.03 for scale in scales)
    qualities = [chain.quality for chain in chains if chain.quality is not None]
    assert len(qualities) == 7 * 64
    assert 40 <= min(qualities) < 45
    assert 95 < max(qualities) < 100
    lights = [chain.light[0] for chain in chains if chain.light is not None]
    assert {name: lights.count(name) for name in set(lights)} == {
        "brightness": 128,
        "contrast": 128,
        "gamma": 192,
    }


def test_the_first_history_changes_nothing() -> None:
    rgb = photo()
    edited = history(0).apply(rgb)
    np.testing.assert_array_equal(edited, rgb)
    assert not np.shares_memory(edited, rgb)


@pytest.mark.parametrize("number", [5, 77, 130, 263, 340, 511])
def test_an_edited_photo_has_the_size_it_says(number: int) -> None:
    rgb, chain = photo(), history(number)
    before = rgb.copy()
    edited = chain.apply(rgb)
    assert edited.dtype == np.uint8
    assert edited.shape == (chain.side(48), chain.side(64), 3)
    np.testing.assert_array_equal(rgb, before)
    np.testing.assert_array_equal(edited, chain.apply(rgb))


def test_a_chain_resizes_then_relights_then_compresses() -> None:
    rgb = photo()
    chain = History(0.75, Image.Resampling.BICUBIC, ("contrast", 0.83), 70)
    small = np.asarray(Image.fromarray(rgb).resize((48, 36), Image.Resampling.BICUBIC))
    flat = np.rint((127.5 + (small - 127.5) * 0.83).clip(0, 255)).astype(np.uint8)
    np.testing.assert_array_equal(chain.apply(rgb), recompress(flat, 70))


@pytest.mark.parametrize(
    ("light", "expected"),
    [
        (("brightness", 1.4), [0, 140, 255, 255]),
        (("contrast", 0.5), [64, 114, 164, 191]),
        (("gamma", 2.0), [0, 39, 157, 255]),
    ],
)
def test_light_by_hand(light: tuple[str, float], expected: list[int]) -> None:
    row = np.repeat(np.array([[0, 100, 200, 255]], np.uint8)[..., None], 3, axis=2)
    chain = History(None, Image.Resampling.BILINEAR, light, None)
    assert chain.apply(row)[0, :, 0].tolist() == expected
