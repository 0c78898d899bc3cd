"""The residual: against the reference's stored numbers, a plain implementation, and odd inputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from forensics.prnu.residual import (
    GRAY,
    channel_noise,
    gray,
    noise_residual,
    wiener_dft,
    zero_mean_total,
)
from tests.prnu import peer


def picture(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """Smooth structure, edges and noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    base = 120 + 60 * np.sin(x / 17 + y / 29) + 40 * ((x // 40 + y // 30) % 2)
    rgb = base[..., None] * [1.0, 0.9, 0.7] + rng.normal(0, 4, (height, width, 3))
    return np.clip(rgb, 0, 255).astype(np.uint8)


def correlation(a: NDArray[Any], b: NDArray[Any]) -> float:
    return float(np.corrcoef(a.ravel().astype(float), b.ravel().astype(float))[0, 1])


def test_reference_numbers(shared: Path) -> None:
    with np.load(shared / "interop/prnu/residual_public.npz") as golden:
        noise = channel_noise(golden["image"]).transpose(1, 2, 0)
        assert correlation(noise, golden["noise_rgb"]) > 1 - 1e-9
        np.testing.assert_allclose(noise, golden["noise_rgb"], atol=1e-3)  # std 1.8
        residual = noise_residual(golden["image"])
        assert correlation(residual, golden["residual"]) > 1 - 1e-9
        np.testing.assert_allclose(residual, golden["residual"], atol=5e-4)  # std 0.9
        odd = noise_residual(golden["odd_image"])
        assert correlation(odd, golden["odd_residual"]) > 1 - 1e-9
        np.testing.assert_allclose(odd, golden["odd_residual"], atol=5e-4)


@pytest.mark.parametrize("shape", [(112, 112), (131, 200), (240, 113)])
@pytest.mark.parametrize("sigma", [2.0, 5.0])
def test_equals_plain_implementation(shape: tuple[int, int], sigma: float) -> None:
    rgb = picture(*shape)
    residual = noise_residual(rgb, sigma)
    assert residual.dtype == np.float32
    np.testing.assert_allclose(residual, peer.noise_residual(rgb, sigma=sigma), atol=3e-4)
    noise = channel_noise(rgb, sigma)
    np.testing.assert_allclose(
        noise.transpose(1, 2, 0), peer.channel_noise(rgb, sigma=sigma), atol=1e-3
    )


@pytest.mark.parametrize(("side", "levels"), [(14, 1), (27, 1), (30, 2), (60, 3)])
def test_small_images_use_fewer_levels(side: int, levels: int) -> None:
    rgb = picture(side, 2 * side)
    expected = peer.noise_residual(rgb, levels=levels)
    np.testing.assert_allclose(noise_residual(rgb), expected, atol=3e-4)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (2, 2), (13, 200), (13, 13)])
def test_images_without_a_level_give_zeros(shape: tuple[int, int]) -> None:
    assert np.array_equal(noise_residual(picture(*shape)), np.zeros(shape, np.float32))
    assert np.array_equal(channel_noise(picture(*shape)), np.zeros((3, *shape), np.float32))


@pytest.mark.parametrize("value", [0, 117, 255])
def test_constant_images_give_exact_zeros(value: int) -> None:
    rgb = np.full((70, 90, 3), [value, 255 - value, 30], np.uint8)
    assert not noise_residual(rgb).any()


def test_gray_images_are_their_own_channel() -> None:
    plane = picture(80, 90)[..., 0]
    expected = peer.channel_noise(np.repeat(plane[..., None], 3, 2), levels=3)[..., 0]
    noise = channel_noise(plane)
    assert noise.shape == (1, 80, 90)
    np.testing.assert_allclose(noise[0], expected, atol=5e-4)
    cleaned = peer.wiener_dft(peer.zero_mean_total(expected))
    np.testing.assert_allclose(noise_residual(plane), cleaned, atol=5e-4)


def test_tensor_in_tensor_out_without_mutation() -> None:
    rgb = picture(64, 70)
    rgb.setflags(write=False)
    tensor = torch.from_numpy(rgb.copy())
    result = noise_residual(tensor)
    assert isinstance(result, torch.Tensor)
    np.testing.assert_array_equal(result.numpy(), noise_residual(rgb))
    np.testing.assert_array_equal(tensor.numpy(), rgb)


def test_same_input_same_bits() -> None:
    rgb = picture(130, 170)
    np.testing.assert_array_equal(noise_residual(rgb), noise_residual(rgb.copy()))


@pytest.mark.parametrize("shape", [(1, 1), (1, 6), (5, 3), (40, 41), (57, 30)])
def test_zero_mean_total(shape: tuple[int, int]) -> None:
    x = np.random.default_rng(3).normal(2, 3, shape)
    before = x.copy()
    result = zero_mean_total(x)
    np.testing.assert_allclose(result, peer.zero_mean_total(x), atol=1e-5)
    for lattice in (result[i::2, j::2] for i in (0, 1) for j in (0, 1)):
        if lattice.size:
            assert np.abs(lattice.mean(axis=0)).max() < 1e-5
            assert np.abs(lattice.mean(axis=1)).max() < 1e-5
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize(
    "shape", [(1, 7), (5, 3), (31, 80), (32, 32), (33, 47), (64, 65), (65, 64), (130, 121)]
)
def test_wiener_equals_the_full_spectrum(shape: tuple[int, int]) -> None:
    # A strong sine beside the axes of the spectrum, where the windows are cut off.
    y, x = np.mgrid[: shape[0], : shape[1]]
    wave = 10 * np.sin(2 * np.pi * 2 * x / shape[1]) + 8 * np.cos(2 * np.pi * y / shape[0])
    plane = np.random.default_rng(4).normal(1, 3, shape) + wave
    np.testing.assert_allclose(wiener_dft(plane), peer.wiener_dft(plane), atol=2e-5)


def test_wiener_beside_a_large_mean() -> None:
    plane = np.random.default_rng(6).normal(1000, 1, (90, 101))
    expected = peer.wiener_dft(plane)
    np.testing.assert_allclose(wiener_dft(plane), expected, atol=2e-3)


def test_wiener_removes_a_periodic_pattern() -> None:
    y, x = np.mgrid[:128, :160]
    noise = np.random.default_rng(5).normal(0, 1, (128, 160))
    wave = 2 * np.sin(2 * np.pi * (x / 8 + y / 16))
    cleaned = wiener_dft(noise + wave)
    assert abs(correlation(cleaned, wave)) < 0.1
    assert correlation(cleaned, noise) > 0.95


def test_wiener_of_constants_is_finite() -> None:
    for shape in ((1, 1), (40, 50)):
        assert np.array_equal(wiener_dft(np.zeros(shape)), np.zeros(shape, np.float32))
        assert np.abs(wiener_dft(np.full(shape, 3.0))).max() < 3.1


def test_gray() -> None:
    rgb = picture(9, 11)
    np.testing.assert_allclose(gray(rgb), rgb @ np.array(GRAY), rtol=1e-6)
    np.testing.assert_array_equal(gray(rgb[..., 0]), rgb[..., 0].astype(np.float32))


@pytest.mark.parametrize("shape", [(5,), (0, 5, 3), (5, 5, 2), (5, 5, 4), (2, 5, 5, 3)])
def test_refuses_other_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="an image is"):
        noise_residual(np.zeros(shape, np.uint8))


@pytest.mark.parametrize(("sigma", "levels"), [(0.0, 4), (-1.0, 4), (float("nan"), 4), (5.0, 0)])
def test_refuses_settings(sigma: float, levels: int) -> None:
    with pytest.raises(ValueError, match="sigma and levels"):
        noise_residual(np.zeros((20, 20, 3), np.uint8), sigma, levels)
