"""Batches of patches: what they share, what keeps training and validation apart, how they split."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch

from forensics.records import NotApplicable, UserError
from forensics.train.peers import Peers
from forensics.train.trufor import patches as module
from forensics.train.trufor.histories import history
from forensics.train.trufor.patches import PatchBatch, Patches, PhotoCrops, cut_crops
from forensics.train.trufor.settings import ContrastiveSettings

SMALL: dict[str, Any] = {
    "patch": 16,
    "crop": 48,
    "crops": 3,
    "cameras": 2,
    "positions": 2,
    "histories": 3,
    "photos": 3,
    "steps": 4,
    "validation": 0.3,
    "seed": 5,
}


def settings(**changes: Any) -> ContrastiveSettings:
    return ContrastiveSettings(**{**SMALL, **changes})


def photos(cameras: int = 3, each: int = 6, side: int = 80) -> list[PhotoCrops]:
    """Photos whose values tell the camera and the photo: 40 · camera + photo."""
    return [
        cut_crops(
            f"{camera}-{number}",
            f"camera{camera}",
            np.full((side, side, 3), 40 * camera + number, np.uint8),
            settings(),
        )
        for camera in range(cameras)
        for number in range(each)
    ]


def test_photos_of_a_camera_are_cut_at_the_same_places() -> None:
    y, x = np.mgrid[:90, :120].astype(np.uint8)
    rgb = np.stack([y, x, y], axis=-1)
    one, other = (cut_crops(name, "c", rgb, settings()) for name in ("a", "b"))
    np.testing.assert_array_equal(one.crops, other.crops)
    assert one.grid == other.grid == "c 120x90"
    assert one.crops.shape == (3, 48, 48, 3)
    assert len({tuple(crop[0, 0]) for crop in one.crops}) == 3
    assert (np.diff(one.crops[..., 1].astype(int), axis=2) == 1).all()  # nothing is resampled
    elsewhere = cut_crops("a", "another", rgb, settings())
    assert (elsewhere.crops[:, 0, 0] != one.crops[:, 0, 0]).any()
    with pytest.raises(NotApplicable, match="47x90 px, smaller than a crop of 48"):
        cut_crops("a", "c", rgb[:, :47], settings())


def test_a_batch_is_the_product_of_cameras_positions_and_histories() -> None:
    batch = next(Patches(photos(), settings()).training(1))
    assert batch.pixels.shape == (2 * 2 * 3 * 3, 3, 16, 16)
    assert batch.pixels.dtype == torch.uint8
    keys, counts = np.unique(batch.keys, axis=0, return_counts=True)
    assert keys.tolist() == [[c, p, h] for c in range(2) for p in range(2) for h in range(3)]
    assert set(counts) == {3}
    groups = batch.groups.numpy()
    for i, j in np.ndindex(36, 36):
        assert (groups[i] == groups[j]) == (batch.keys[i] == batch.keys[j]).all()


@pytest.fixture
def unedited(monkeypatch: pytest.MonkeyPatch) -> None:
    """Edits change nothing, so that pixels tell where they come from."""
    monkeypatch.setattr(module, "history", lambda number, seed: history(0))


def test_patches_of_a_group_are_from_one_place_in_different_photos(unedited: None) -> None:
    """Every pixel tells its row, its column and the number of its photo."""
    y, x = np.mgrid[:80, :80].astype(np.uint8)
    made = [
        cut_crops(str(n), "c", np.stack([y, x, np.full_like(x, n)], -1), settings())
        for n in range(6)
    ]
    for batch in Patches(made, settings()).training(3):
        places: dict[tuple[int, ...], list[tuple[int, ...]]] = {}
        for pixels, key in zip(batch.pixels.numpy(), batch.keys.tolist(), strict=True):
            places.setdefault(tuple(key), []).append(tuple(pixels[:, 0, 0].tolist()))
        for group in places.values():
            assert len({corner[:2] for corner in group}) == 1
            assert len({corner[2] for corner in group}) == 3
        corners = {key[1]: group[0][:2] for key, group in places.items()}
        assert corners[0] != corners[1]


def test_validation_photos_are_not_trained_on(unedited: None) -> None:
    patches = Patches(photos(), settings(steps=12, validation_steps=6))

    def seen(batches: Iterable[PatchBatch]) -> set[str]:
        values = {int(value) for batch in batches for value in batch.pixels.unique()}
        return {f"{value // 40}-{value % 40}" for value in values}

    held_out = seen(patches.validation())
    assert sorted(name[0] for name in held_out) == list("001122")
    trained = seen(patches.training(1)) | seen(patches.training(2))
    assert len(trained) == 3 * 4
    assert not trained & held_out
    again = zip(patches.validation(), patches.validation(), strict=True)
    assert all(one.pixels.equal(other.pixels) for one, other in again)


def test_an_epoch_follows_from_seed_and_number_alone() -> None:
    patches = Patches(photos(), settings())
    list(islice(patches.training(1), 2))
    late = list(patches.training(2))
    fresh = list(Patches(photos()[::-1], settings(threads=3)).training(2))
    assert len(late) == len(fresh) == 4
    for one, other in zip(late, fresh, strict=True):
        assert one.pixels.equal(other.pixels)
        np.testing.assert_array_equal(one.keys, other.keys)
    assert not next(patches.training(1)).pixels.equal(late[0].pixels)
    others = next(Patches(photos(), settings(seed=6)).training(2))
    assert not others.pixels.equal(late[0].pixels)


def test_parts_of_a_batch_make_up_the_batch() -> None:
    patches = Patches(photos(), settings())
    whole = next(patches.training(1))
    parts = [next(patches.training(1, Peers(rank, 5))) for rank in range(5)]
    joined = torch.empty_like(whole.pixels)
    for part in parts:
        joined[part.mine] = part.pixels
        np.testing.assert_array_equal(part.keys, whole.keys)
    assert joined.equal(whole.pixels)


def test_smaller_editing_histories_still_hold_a_patch() -> None:
    tight = settings(crop=32, histories=60, crops=2)
    made = [cut_crops(str(n), "c", np.zeros((40, 40, 3), np.uint8), tight) for n in range(5)]
    sides = [history(n, 5).side(32) for n in range(512)]
    assert 16 <= min(sides) < 18
    for batch in Patches(made, tight).training(1):
        assert batch.pixels.shape[2:] == (16, 16)


def test_photos_too_few_are_refused() -> None:
    with pytest.raises(UserError, match="four of a camera at least; the best has 3"):
        Patches(photos(each=3), settings())
    mixed = photos(cameras=1, each=4) + photos(cameras=3, each=2)[2:]  # the rest only train
    batches = Patches(mixed, settings(validation_steps=3)).validation()
    assert {tuple(batch.keys[:, 0]) for batch in batches} == {(0,) * 12}  # one camera, two photos


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"crop": 31}, "crop must be 2 patches at least"), ({"positions": 4}, "4 positions need")],
)
def test_settings_that_do_not_fit_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        settings(**changes)
