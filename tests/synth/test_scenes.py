from __future__ import annotations

import socket

import numpy as np
import pytest
from skimage import data

from forensics.records import UserError
from forensics.synth import scenes

MAKERS = [
    scenes.photo_scene,
    scenes.procedural_scene,
    scenes.natural_scene,
    scenes.flat_scene,
]
SIZES = [(1, 1), (1, 7), (9, 1), (2, 3), (17, 33), (64, 48), (129, 255)]


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_any_size(make, height, width):
    for seed in range(4):
        scene = make(height, width, seed)
        assert scene.shape == (height, width, 3)
        assert scene.dtype == np.float32
        assert np.isfinite(scene).all()
        assert scene.min() >= 0


@pytest.mark.parametrize("make", MAKERS)
def test_the_seed_decides(make):
    first = make(40, 56, [3, 1])
    np.testing.assert_array_equal(first, make(40, 56, [3, 1]))
    assert not np.array_equal(first, make(40, 56, [3, 2]))


def test_a_scene_may_be_changed_without_changing_the_next():
    first = scenes.photo_scene(32, 32, 5)
    kept = first.copy()
    first[:] = 0
    np.testing.assert_array_equal(scenes.photo_scene(32, 32, 5), kept)


def test_natural_scenes_hold_all_that_prnu_meets():
    stack = np.stack([scenes.natural_scene(128, 128, seed) for seed in range(30)])
    means = stack.mean(axis=(1, 2, 3))
    assert means.min() > 0.119
    assert means.max() < 0.321
    light = stack.mean(axis=-1)
    assert (light < 0.02).mean() > 0.01  # dark
    assert (light > 0.6).mean() > 0.01  # bright
    assert (stack > 1).mean() > 0.005  # saturated
    blocks = light.reshape(30, 8, 16, 8, 16)
    contrast = blocks.std(axis=(2, 4)) / (blocks.mean(axis=(2, 4)) + 1e-6)
    assert (contrast < 0.1).mean() > 0.05  # smooth
    assert (contrast > 0.3).mean() > 0.05  # textured


def test_flat_scenes_are_bright_smooth_and_not_saturated():
    for seed in range(10):
        scene = scenes.flat_scene(60, 80, seed)
        assert scene.min() > 0.25
        assert scene.max() < 0.9
        assert np.abs(np.diff(scene, axis=0)).max() < 0.01
        assert np.abs(np.diff(scene, axis=1)).max() < 0.01


@pytest.mark.parametrize(("height", "width"), [(1, 1), (5, 300), (200, 150)])
def test_value_noise_is_standardised(height, width):
    noise = scenes.value_noise(height, width, np.random.default_rng(0), coarsest=32, finest=4)
    assert noise.shape == (height, width)
    assert noise.dtype == np.float32
    assert noise.mean() == pytest.approx(0, abs=1e-4)
    assert noise.std() == pytest.approx(1 if height * width > 1 else 0, abs=1e-3)


def test_photos_come_from_the_installed_packages(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a scene opened a socket")

    monkeypatch.setattr(socket, "socket", refuse)
    scenes._source.cache_clear()
    for seed in range(60):
        scenes.natural_scene(8, 8, seed)
    assert scenes._source.cache_info().currsize == len(scenes._PHOTOS) + len(scenes._MATERIALS)


@pytest.mark.parametrize(
    ("value", "light"), [(0, 0.0), (10, 0.00303527), (128, 0.21586050), (255, 1.0)]
)
def test_sources_are_linear_light(value, light):
    # sRGB decoding (IEC 61966-2-1): v / 12.92 below 0.04045, ((v + 0.055) / 1.055) ** 2.4 above.
    stored = data.astronaut()
    source = scenes._source("skimage", "data/astronaut.png")
    np.testing.assert_allclose(source[stored == value], light, rtol=1e-5)
    assert (stored == value).any()


@pytest.mark.parametrize(
    ("package", "name"), [("skimage", "data/none.png"), ("no_such_package", "a.png")]
)
def test_missing_source_says_what(package, name):
    with pytest.raises(UserError, match=f"{package}"):
        scenes._source(package, name)
