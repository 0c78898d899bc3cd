from __future__ import annotations

import numpy as np
import pytest

from forensics.synth.processing import reduce_noise, sharpen

SHOT = np.array([7e-4, 4e-4, 6e-4], dtype=np.float32)
FLOOR = np.array([3e-5, 1e-5, 2e-5], dtype=np.float32)
NONE = np.zeros(3, dtype=np.float32)
LUMA = np.array([0.299, 0.587, 0.114])


def noise_at(level: np.ndarray, seed: int = 0) -> np.ndarray:
    """Noise of the promised variance on a gray scene of the given brightness (H, W)."""
    rng = np.random.default_rng(seed)
    variance = SHOT * level[..., None] + FLOOR
    return (rng.standard_normal(variance.shape) * np.sqrt(variance)).astype(np.float32)


def gray(level: np.ndarray) -> np.ndarray:
    return np.repeat(level[..., None], 3, axis=-1).astype(np.float32)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 7), (3, 2), (40, 33)])
def test_without_strength_or_noise_nothing_changes(height, width):
    scene = np.random.default_rng(1).uniform(0, 1, (height, width, 3)).astype(np.float32)
    kept = scene.copy()
    np.testing.assert_allclose(reduce_noise(scene, SHOT, FLOOR, 0), scene, atol=2e-6)
    np.testing.assert_allclose(reduce_noise(scene, NONE, NONE, 1), scene, atol=2e-6)
    assert reduce_noise(scene, SHOT, FLOOR, 1).dtype == np.float32
    np.testing.assert_array_equal(scene, kept)


@pytest.mark.parametrize("level", [0.02, 0.2, 0.8])
@pytest.mark.parametrize("strength", [0.3, 0.6])
def test_flat_regions_lose_the_same_share_at_every_brightness(level, strength):
    flat = np.full((200, 200), level)
    noisy = gray(flat) + noise_at(flat)
    left = (reduce_noise(noisy, SHOT, FLOOR, strength) @ LUMA).std() / (noisy @ LUMA).std()
    # Where the local variance lies above the noise by chance, a little more is kept.
    assert 1 - strength - 0.02 < left < 1 - 0.75 * strength


def test_colour_noise_goes_further_than_luma_noise():
    flat = np.full((200, 200), 0.4)
    noisy = gray(flat) + noise_at(flat)
    smooth = reduce_noise(noisy, SHOT, FLOOR, 0.4)

    def colour(x):
        return (x[..., 0] - x @ LUMA).std()

    luma = (smooth @ LUMA).std() / (noisy @ LUMA).std()
    assert colour(smooth) / colour(noisy) < 0.7 * luma


def test_edges_and_texture_stay_where_they_stand_out_of_the_noise():
    level = np.full((64, 64), 0.1)
    level[:, 32:] = 0.7
    level[32:, ::2] += 0.2
    scene = gray(level)
    assert np.abs(reduce_noise(scene, SHOT, FLOOR, 1) - scene).max() < 0.02
    much = reduce_noise(scene, 1000 * SHOT, FLOOR, 1)
    assert np.abs(much - scene).max() > 0.1


def test_units_of_light_do_not_matter():
    flat = np.full((50, 60), 0.3)
    noisy = gray(flat) + noise_at(flat)
    scaled = reduce_noise(1000 * noisy, 1000 * SHOT, 1000**2 * FLOOR, 0.7)
    np.testing.assert_allclose(scaled, 1000 * reduce_noise(noisy, SHOT, FLOOR, 0.7), rtol=2e-3)


def test_sharpening_a_point_exactly():
    rgb = np.full((7, 7, 3), 100, dtype=np.uint8)
    rgb[3, 3] = 132
    expected = np.full((7, 7), 100)
    expected[2:5, 2:5] = [[98, 96, 98], [96, 156, 96], [98, 96, 98]]
    np.testing.assert_array_equal(sharpen(rgb, 1), np.repeat(expected[..., None], 3, -1))


def test_sharpening_keeps_planes_and_colour_differences_and_clips():
    y, x = np.mgrid[0:20, 0:30]
    plane = np.stack([50 + 2 * y + x, 120 - y + 3 * x, 200 - 4 * y], -1).astype(np.uint8)
    np.testing.assert_array_equal(sharpen(plane, 2)[1:-1, 1:-1], plane[1:-1, 1:-1])
    dots = plane.copy()
    dots[::5, ::5] += 30
    added = sharpen(dots, 0.8).astype(int) - dots
    assert np.abs(added).max() > 5
    assert np.abs(added[..., 0] - added[..., 1]).max() <= 1  # rounding
    black = np.zeros((5, 5, 3), dtype=np.uint8)
    black[2, 2] = 255
    np.testing.assert_array_equal(sharpen(black, 3), black)
