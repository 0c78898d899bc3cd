"""Which patches of many photos a training gets: whole places, drawn by the seed."""

from __future__ import annotations

import numpy as np

from forensics.train.manipulation.choice import few, gather
from forensics.train.manipulation.patches import Patches


def photo(number: int, places: int, classes: int = 4) -> Patches:
    """Every pixel says which photo, class and place it is of."""
    labels = np.repeat(np.arange(classes), places)
    codes = 100 * number + 10 * labels + np.tile(np.arange(places), classes)
    pixels = np.broadcast_to(codes[:, None, None], (len(codes), 2, 2)).astype(np.uint8)
    return Patches(pixels, labels, np.array([f"device {number}"] * len(codes)))


def codes(patches: Patches) -> list[int]:
    return patches.pixels[:, 0, 0].tolist()


def test_classes_are_taken_and_counted_anew() -> None:
    found = gather([photo(0, 2), photo(1, 1)], (0, 2))
    assert codes(found) == [0, 1, 20, 21, 100, 120]
    assert found.labels.tolist() == [0, 0, 1, 1, 0, 1]
    assert found.devices.tolist() == ["device 0"] * 4 + ["device 1"] * 2
    assert codes(gather([photo(0, 2)], range(4))) == codes(photo(0, 2))


def test_places_are_drawn_from_all_photos_in_all_their_versions() -> None:
    photos = [photo(0, 5), photo(1, 5)]
    seen = set()
    for seed in range(8):
        found = gather(photos, (0, 1, 3), at_most=4, seed=seed)
        assert len(found) == 3 * 4
        pristine = {
            code for code, label in zip(codes(found), found.labels, strict=True) if not label
        }
        versions = {1: 10, 2: 30}
        for label, shift in versions.items():
            of_class = {c for c, k in zip(codes(found), found.labels, strict=True) if k == label}
            assert of_class == {code + shift for code in pristine}
        seen.add(tuple(sorted(pristine)))
    assert len(seen) > 4
    assert any(len([c for c in draw if c < 100]) not in (0, 4) for draw in seen)
    whole = gather(photos, (0, 1), at_most=100)
    assert codes(whole) == codes(gather(photos, (0, 1)))


def test_a_smaller_set_is_part_of_a_larger_one() -> None:
    small, large = (few(photo(0, 9), count, seed=3) for count in (2, 5))
    assert set(codes(small)) < set(codes(large))
    assert small.labels.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert codes(few(photo(0, 9), 20, seed=3)) == codes(photo(0, 9))
