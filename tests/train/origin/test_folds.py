"""No source is on both sides, and every class is on the side that learns."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
import pytest

from forensics.records import UserError
from forensics.train.origin.folds import deal


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
