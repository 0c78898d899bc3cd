"""Which windows a training sees, and that it sees them again when it is repeated."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from forensics.train.predictor.samples import Samples
from tests.train.photos import WINDOW, photo


def test_the_split_keeps_photos_whole() -> None:
    images = [photo(number) for number in range(10)]
    samples = Samples(images, WINDOW, by_images=True, validation=0.3, seed=0)
    assert len(samples.held_out_images) == 3
    held_out = [image.rho for image in images if image.image_id in samples.held_out_images]
    found = np.concatenate([batch.rho.numpy().ravel() for batch in samples.validation(7)])
    np.testing.assert_array_equal(np.sort(found), np.sort(np.concatenate(held_out)))
    other = Samples(images, WINDOW, by_images=True, validation=0.3, seed=1)
    assert other.held_out_images != samples.held_out_images


def test_the_split_by_blocks() -> None:
    images = [photo(number) for number in range(3)]
    samples = Samples(images, WINDOW, by_images=False, validation=0.25, seed=0)
    seen = np.concatenate([batch.rho.numpy().ravel() for batch in samples.training(1, 5)])
    held_out = np.concatenate([batch.rho.numpy().ravel() for batch in samples.validation(5)])
    assert (len(seen), len(held_out)) == (27, 9)
    everything = np.concatenate([image.rho for image in images])
    np.testing.assert_array_equal(np.sort(np.r_[seen, held_out]), np.sort(everything))


def test_epochs_have_their_own_order_which_follows_from_the_seed() -> None:
    images = [photo(number) for number in range(4)]
    samples = Samples(images, WINDOW, by_images=True, validation=0.3, seed=0)

    def order(epoch: int) -> NDArray[np.float32]:
        return np.concatenate([batch.rho.numpy().ravel() for batch in samples.training(epoch, 5)])

    np.testing.assert_array_equal(order(1), order(1))
    assert not np.array_equal(order(1), order(2))
    np.testing.assert_array_equal(np.sort(order(1)), np.sort(order(2)))


def test_crops_bring_the_correlations_of_their_windows() -> None:
    images = [photo(number, side=168) for number in range(3)]
    samples = Samples(images, 80, by_images=True, validation=0.3, seed=0)
    corners = set()
    for epoch in range(1, 6):
        for batch in samples.training(epoch, 3):
            assert batch.pixels.shape[1:] == (3, 80, 80)
            for crop, rho in zip(batch.pixels, batch.rho, strict=True):
                corners.add(crop[:, 0, 0].numpy().tobytes())
                for i, j in np.ndindex(3, 3):
                    window = crop[:, 8 * i : 8 * i + WINDOW, 8 * j : 8 * j + WINDOW]
                    assert float(rho[i, j]) == pytest.approx(float(window.float().mean()) / 4000)
    assert len(corners) > 8


@pytest.mark.parametrize("crop", [WINDOW, 80])
def test_turned_and_mirrored_crops_keep_what_their_windows_show(crop: int) -> None:
    images = [photo(number, side=168) for number in range(6)]
    plain = Samples(images, crop, by_images=True, validation=0.3, seed=0)
    samples = Samples(images, crop, by_images=True, validation=0.3, seed=0, augment=True)
    slopes = set()
    for epoch in (1, 2):
        for batch in samples.training(epoch, 3):
            for pixels, rho in zip(batch.pixels.float(), batch.rho, strict=True):
                for i, j in np.ndindex(*rho.shape):
                    window = pixels[:, 8 * i : 8 * i + WINDOW, 8 * j : 8 * j + WINDOW]
                    assert float(rho[i, j]) == pytest.approx(float(window.mean()) / 4000)
                # the photos are brighter or darker from top to bottom, and turned ones elsewhere
                across, down = (float(pixels.mean((0, axis)).diff().mean()) for axis in (1, 2))
                slopes.add((abs(across) > abs(down), across + down > 0))
    assert len(slopes) == 4
    for batch, again in zip(samples.training(1, 3), samples.training(1, 3), strict=True):
        np.testing.assert_array_equal(batch.pixels, again.pixels)
    for batch, other in zip(samples.validation(3), plain.validation(3), strict=True):
        np.testing.assert_array_equal(batch.pixels, other.pixels)
