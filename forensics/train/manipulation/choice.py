"""Which of the patches of many photos a training gets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from forensics.train.manipulation.patches import Patches


def gather(
    photos: Sequence[Patches], labels: Sequence[int], at_most: int | None = None, seed: int = 0
) -> Patches:
    """Patches of several photos together.

    Args:
        photos: what `patches.cut` gives for each, of the same window; at least one.
        labels: the classes to take, ascending; they become 0, 1, …
        at_most: places that are drawn from all photos', each in all its versions; None: all.
        seed: of the draw.
    """
    parts = [_of_classes(photo, np.asarray(labels)) for photo in photos]
    if at_most is not None:
        counts = [_places(part) for part in parts]
        chosen = np.random.default_rng(seed).permutation(sum(counts))[:at_most]
        ends = np.cumsum(counts)
        parts = [
            _at(part, chosen[(chosen >= end - count) & (chosen < end)] - (end - count))
            for part, count, end in zip(parts, counts, ends, strict=True)
        ]
    return Patches.joined(parts)


def few(photo: Patches, count: int, seed: int | list[int]) -> Patches:
    """At most so many places of one photo, drawn by the seed, each in all its versions."""
    return _at(photo, np.random.default_rng(seed).permutation(_places(photo))[:count])


def _of_classes(photo: Patches, labels: NDArray[np.int64]) -> Patches:
    kept = photo.take(np.flatnonzero(np.isin(photo.labels, labels)))
    return replace(kept, labels=np.searchsorted(labels, kept.labels))


def _places(photo: Patches) -> int:
    return int((photo.labels == 0).sum())


def _at(photo: Patches, places: NDArray[np.int64]) -> Patches:
    """Every class has the same places in the same order, and comes after the one before."""
    count = _places(photo)
    versions = np.arange(len(photo) // count)[:, None] * count
    return photo.take((versions + np.sort(places)).ravel())
