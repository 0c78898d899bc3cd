from __future__ import annotations

import numpy as np
import pytest
from skimage.measure import label

from forensics.synth import forgeries
from forensics.synth.camera import SimulatedCamera
from forensics.synth.forgeries import copy_move, forge, free_offsets, random_region, remove, splice

KINDS = ["splice", "copymove", "removal"]
SIZES = [(96, 128), (101, 67), (33, 257), (16, 16), (9, 11), (1, 60)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_the_mask_is_exact(kind, height, width):
    image = SimulatedCamera(1, height, width).natural(0)
    donor = SimulatedCamera(2, height, width).natural(0)
    kept = image.copy(), donor.copy()
    for seed in range(5):
        forgery = forge(kind, image, seed, donor=donor)
        changed = (forgery.pixels != image).any(axis=-1)
        assert forgery.kind == kind
        assert forgery.pixels.dtype == np.uint8
        assert forgery.pixels.shape == image.shape
        assert forgery.mask.dtype == np.bool_
        assert not (changed & ~forgery.mask).any()
        assert 0.02 < forgery.mask.mean() < 0.13
        if height * width > 5000:
            assert changed[forgery.mask].mean() > 0.8
    np.testing.assert_array_equal(image, kept[0])
    np.testing.assert_array_equal(donor, kept[1])


@pytest.mark.parametrize("kind", KINDS)
def test_the_seed_decides(kind):
    image = SimulatedCamera(1, 64, 96).natural(1)
    donor = SimulatedCamera(2, 64, 96).natural(1)
    first, again, other = (forge(kind, image, seed, donor=donor) for seed in ([7, 1], [7, 1], 2))
    np.testing.assert_array_equal(first.pixels, again.pixels)
    np.testing.assert_array_equal(first.mask, again.mask)
    assert not np.array_equal(first.mask, other.mask)


@pytest.mark.parametrize(("height", "width"), [(200, 300), (300, 90), (57, 57)])
@pytest.mark.parametrize("area", [(0.01, 0.01), (0.03, 0.12), (0.3, 0.5)])
def test_region_area_and_shape(height, width, area):
    rng = np.random.default_rng(0)
    for _ in range(10):
        mask = random_region(height, width, area, rng)
        assert area[0] * mask.size - 0.5 <= mask.sum() <= area[1] * mask.size + 0.5
        assert label(mask, connectivity=2).max() == 1  # one blob
        rows, columns = mask.any(axis=1).sum(), mask.any(axis=0).sum()
        assert mask.sum() < 0.95 * rows * columns  # not a rectangle


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 1), (1, 3)])
def test_region_of_a_tiny_image_has_a_pixel(height, width):
    assert random_region(height, width, (0.01, 0.02), np.random.default_rng(0)).sum() == 1


@pytest.mark.parametrize("area", [(0, 0.1), (0.2, 0.1), (0.5, 1.0), (-0.1, 0.1)])
def test_impossible_areas(area):
    with pytest.raises(ValueError, match="area"):
        random_region(10, 10, area, np.random.default_rng(0))


def square(height: int, width: int, top: int, left: int, side: int) -> np.ndarray:
    mask = np.zeros((height, width), dtype=bool)
    mask[top : top + side, left : left + side] = True
    return mask


def test_splice_blends_at_the_inner_border_only():
    mask = square(40, 50, 10, 12, 20)
    image = np.zeros((40, 50, 3), dtype=np.uint8)
    donor = np.full((40, 50, 3), 200, dtype=np.uint8)
    result = splice(image, donor, mask)[..., 0]
    assert (result[~mask] == 0).all()
    assert (result[12:28, 14:30] == 200).all()  # two pixels in from the border
    assert result[20, 12] == 120  # on an edge three of five columns belong to the mask
    assert (result[mask] > 0).all()


def test_copy_move_copies_from_the_offset():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (60, 70, 3), dtype=np.uint8)
    mask = square(60, 70, 5, 6, 15)
    result = copy_move(image, mask, np.array([30, 40]))
    np.testing.assert_array_equal(result[7:18, 8:19], image[37:48, 48:59])
    np.testing.assert_array_equal(result[~mask], image[~mask])


def test_free_offsets_are_all_and_only_the_disjoint_ones():
    mask = square(9, 10, 3, 2, 3)
    free = {tuple(offset) for offset in free_offsets(mask)}
    expected = set()
    for dy in range(-9, 10):
        for dx in range(-10, 11):
            inside = 0 <= 3 + dy <= 6 and 0 <= 2 + dx <= 7
            if inside and (abs(dy) >= 3 or abs(dx) >= 3):
                expected.add((dy, dx))
    assert free == expected


def test_removal_continues_a_plane():
    # Texture from elsewhere plus a membrane through the border's differences is the plane again.
    y, x = np.mgrid[0:120, 0:160]
    plane = np.stack([20 + x, 40 + y, 10 + (x + y) // 2], axis=-1).astype(np.uint8)
    mask = square(120, 160, 40, 50, 30)
    image = plane.copy()
    image[45:65, 55:75] = 255  # the object to remove
    result = remove(image, mask, free_offsets(mask)[::97])
    np.testing.assert_array_equal(result[~mask], image[~mask])
    assert np.abs(result.astype(int) - plane)[mask].max() <= 3


def test_removal_keeps_texture():
    rng = np.random.default_rng(1)
    image = np.clip(rng.normal(128, 20, (96, 96, 3)), 0, 255).astype(np.uint8)
    mask = square(96, 96, 30, 30, 30)
    result = remove(image, mask, free_offsets(mask)[::41])
    assert result[mask].std() == pytest.approx(image[mask].std(), rel=0.25)
    assert not np.array_equal(result[mask], image[mask])


@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 5), (32, 48)])
def test_membrane_keeps_a_constant(height, width):
    known = np.zeros((height, width), dtype=bool)
    known[0, 0] = True
    values = np.full((height, width, 2), 3.5, dtype=np.float32)
    values[~known] = -100  # unknown values play no part
    np.testing.assert_allclose(forgeries._membrane(values, known), 3.5, rtol=1e-6)


def test_errors_say_what_is_wrong():
    image = np.zeros((8, 8, 3), dtype=np.uint8)
    mask = square(8, 8, 2, 2, 3)
    with pytest.raises(ValueError, match="donor"):
        forge("splice", image, 0)
    with pytest.raises(ValueError, match=r"\(9, 8, 3\).*\(8, 8, 3\)"):
        splice(image, np.zeros((9, 8, 3), dtype=np.uint8), mask)
    with pytest.raises(ValueError, match="smaller area"):
        forge("copymove", image, 0, area=(0.6, 0.7))
    with pytest.raises(ValueError, match="out of the image"):
        copy_move(image, mask, np.array([4, 0]))
    with pytest.raises(ValueError, match="out of the image"):
        remove(image, mask, np.array([[0, -3]]))
    with pytest.raises(ValueError, match="whole image"):
        remove(image, np.ones((8, 8), dtype=bool), np.array([[0, 0]]))
