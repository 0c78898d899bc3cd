"""No source is on both sides, and every class is on the side that learns."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
import pytest

from forensics.origin.level import LevelSettings, level
from forensics.records import NotApplicable, UserError
from forensics.train.origin.folds import deal
from forensics.train.origin.images import prepare
from tests.origin.networks import of_class
from tests.train.origin.made import PATCHES


def archive(seed: int) -> tuple[list[str], list[str]]:
    """Classes of 2 to 7 sources of 1 to 20 images; one source has two classes."""
    rng = np.random.default_rng(seed)
    labels, sources = [], []
    for label in ("npi", "cgg", "dgi"):
        for k in range(int(rng.integers(2, 8))):
            count = int(rng.integers(1, 21))
            labels += [label] * count
            sources += [f"{label}{k}" if k else "both" if label != "cgg" else "cgg0"] * count
    return labels, sources


@pytest.mark.parametrize("count", [2, 3, 5])
def test_sources_stay_together_and_classes_on_the_side_that_learns(count: int) -> None:
    for seed in range(30):
        labels, sources = archive(seed)
        fold = deal(labels, sources, count, seed)
        of = defaultdict(set)
        for source, number in zip(sources, fold.tolist(), strict=True):
            of[source].add(number)
        assert all(len(numbers) == 1 for numbers in of.values())
        for tested in range(count):
            learned = {c for c, f in zip(labels, fold, strict=True) if f != tested}
            assert learned == set(labels)
        assert np.array_equal(deal(labels, sources, count, seed), fold)


def test_equal_sources_make_equal_folds() -> None:
    labels = ["npi"] * 60 + ["cgg"] * 60
    sources = [f"{label}{k % 6}" for k, label in enumerate(labels)]
    fold = deal(labels, sources, 3)
    assert set(Counter(zip(labels, fold.tolist(), strict=True)).values()) == {20}


def test_a_class_from_one_source_is_refused() -> None:
    with pytest.raises(UserError, match="dgi: one image alone, or images of one source"):
        deal(["npi", "npi", "dgi", "dgi"], ["a", "b", "c", "c"], 2)
    with pytest.raises(UserError, match="folds must be 2 or more"):
        deal(["npi", "npi"], ["a", "b"], 1)


def test_an_image_is_levelled_and_its_patches_drawn_by_its_name() -> None:
    rgb = of_class(0, 0)
    levelling = LevelSettings(smallest=32, largest=64)
    image = prepare("a", "s", 2, rgb, PATCHES, levelling)
    assert np.array_equal(image.pixels, level(rgb, "a", levelling))
    assert image.patches(32).shape == (3, 32, 32, 3)
    assert (image.image_id, image.source, image.label) == ("a", "s", 2)
    other = prepare("b", "s", 2, rgb, PATCHES, None)
    assert np.array_equal(other.pixels, rgb)
    assert not np.array_equal(prepare("c", "s", 2, rgb, PATCHES, None).corners, other.corners)
    with pytest.raises(NotApplicable, match="hold no patch of 32 pixels"):
        prepare("a", "s", 2, rgb[:31], PATCHES, None)
    with pytest.raises(NotApplicable, match="no edge"):
        prepare("a", "s", 2, np.zeros((64, 64, 3), np.uint8), PATCHES, None)
