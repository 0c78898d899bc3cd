"""Hand-made features against a direct computation with PyWavelets and NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import pywt
import torch

from forensics.prnu.features import (
    DESIGN_TERMS,
    block_features,
    design,
    feature_maps,
    feature_planes,
)


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Half smooth, half textured, with a dark and a saturated corner."""
    rng = np.random.default_rng(seed)
    x = np.linspace(20, 240, width)[None, :, None] + np.zeros((height, 1, 3))
    x[: height // 2] += rng.normal(0, 15, (height // 2, width, 3))
    x[-height // 4 :, -width // 4 :] = 255
    x[-height // 4 :, : width // 4] = 0
    return x.clip(0, 255).astype(np.uint8)


def reference_planes(rgb: np.ndarray) -> np.ndarray:
    gray = rgb.astype(np.float64) @ [0.29893602, 0.58704307, 0.11402090]
    bands = pywt.wavedec2(gray, "db4", mode="symmetric", level=2)
    bands[0] = np.zeros_like(bands[0])
    high = pywt.waverec2(bands, "db4", mode="symmetric")[: gray.shape[0], : gray.shape[1]]

    def variance(plane: np.ndarray) -> np.ndarray:
        out = np.empty_like(plane)
        for i, j in np.ndindex(plane.shape):
            out[i, j] = plane[max(i - 2, 0) : i + 3, max(j - 2, 0) : j + 3].var()
        return out

    attenuation = np.where(gray > 250, np.exp(-((gray - 250) ** 2) / 6), gray / 250)
    texture = 1 / (1 + variance(high))
    return np.stack(
        [attenuation, texture, np.sqrt(variance(gray)) < 0.03 * gray, attenuation * texture]
    )


def test_planes_are_as_defined() -> None:
    rgb = picture(61, 75)
    planes = feature_planes(rgb)
    expected = reference_planes(rgb)
    assert planes.dtype == np.float32
    np.testing.assert_allclose(planes[[0, 1, 3]], expected[[0, 1, 3]], atol=2e-3)
    assert (planes[2] == expected[2]).mean() > 0.999


def test_saturated_and_black_regions() -> None:
    white = feature_planes(np.full((40, 40, 3), 255, np.uint8))
    np.testing.assert_allclose(white[0], np.exp(-25 / 6), rtol=1e-5)
    assert (white[1] > 0.999).all()
    assert (white[2] == 1).all()
    black = feature_planes(np.zeros((40, 40, 3), np.uint8))
    np.testing.assert_array_equal(black[0], 0)
    np.testing.assert_array_equal(black[2], 0)


def test_maps_are_window_means() -> None:
    planes = feature_planes(picture(96, 80))
    maps = feature_maps(planes, window=32, stride=16)
    assert maps.shape == (6, 5, 4)
    # cell (2, 1) is centred at (40, 24): rows 24..55, columns 8..39
    np.testing.assert_allclose(maps[2, 1], planes[:, 24:56, 8:40].mean(axis=(1, 2)), rtol=1e-5)


def test_blocks_agree_with_the_dense_maps_away_from_block_borders() -> None:
    rgb = picture(256, 256)
    dense = feature_maps(feature_planes(rgb), window=128, stride=1)[128, 128]
    block = block_features(rgb[None, 64:192, 64:192])[0]
    np.testing.assert_allclose(block, dense, atol=0.01)


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (6, 7), (13, 14), (64, 33)])
def test_any_size(shape: tuple[int, int]) -> None:
    planes = feature_planes(picture(*shape))
    assert planes.shape == (4, *shape)
    assert np.isfinite(planes).all()
    assert planes.min() >= 0
    assert planes.max() <= 1


def test_design_row() -> None:
    a, b, c, d = 2.0, 3.0, 5.0, 7.0
    row = design(np.array([[a, b, c, d]]))
    expected = [1, a, b, c, d, 4, 6, 10, 14, 9, 15, 21, 25, 35, 49]
    assert len(expected) == DESIGN_TERMS
    np.testing.assert_array_equal(row, [expected])


def test_tensor_in_tensor_out_and_input_kept() -> None:
    rgb = torch.from_numpy(picture(40, 40))
    before = rgb.clone()
    assert isinstance(feature_planes(rgb), torch.Tensor)
    assert torch.equal(rgb, before)
    assert block_features(np.empty((0, 32, 32, 3), np.uint8)).shape == (0, 4)


@pytest.mark.parametrize("shape", [(5, 5), (5, 5, 4), (0, 5, 3)])
def test_refuses_what_is_no_rgb_image(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="features need"):
        feature_planes(np.zeros(shape, np.uint8))
