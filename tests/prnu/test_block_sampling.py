"""Blocks sampled from photos: where they lie, what was measured in them, what the gains say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from forensics.prnu.block_sampling import (
    BlockSample,
    block_triangle,
    image_gains,
    sample_blocks,
)
from forensics.prnu.blocks import FIELD_STRIDE
from forensics.prnu.camera_model import CameraModel
from forensics.prnu.correlation import ncc
from forensics.prnu.features import feature_planes
from forensics.prnu.hypothesis import fit_sigma0
from forensics.prnu.recompress import recompress
from forensics.prnu.regression import Triangle
from forensics.prnu.residual import gray, noise_residual
from forensics.prnu.saturation import saturation_plane
from forensics.records import NotApplicable
from tests.prnu.cameras import HEIGHT, WIDTH, fingerprint_model, photo, used

WINDOW = 64


def sampled(number: int = 0, quality: int | None = None, **changes: int) -> BlockSample:
    values = {"window": WINDOW, "count": 40, **changes}
    rgb = photo(1, number)
    return sample_blocks(
        fingerprint_model(1), used(f"1-{number}"), rgb, jpeg_quality=quality, **values
    )


@pytest.mark.parametrize("quality", [None, 75])
def test_blocks_are_measured_at_their_places(quality: int | None) -> None:
    sample = sampled(quality=quality)
    rgb = photo(1, 0) if quality is None else recompress(photo(1, 0), quality)
    blocks = sample.blocks
    np.testing.assert_array_equal(blocks.pixels, rgb)
    W = noise_residual(rgb)
    Z = fingerprint_model(1).fingerprint.numpy() * gray(rgb)
    saturation, planes = saturation_plane(rgb), feature_planes(rgb)
    assert blocks.gain == 1
    assert len(blocks.positions) == 40
    for i, (y, x) in enumerate(blocks.positions):
        part = np.s_[..., y : y + WINDOW, x : x + WINDOW]
        assert blocks.rho[i] == pytest.approx(ncc(W[part], Z[part]), abs=1e-5)
        assert blocks.saturation[i] == pytest.approx(saturation[part].mean(), abs=1e-5)
        np.testing.assert_allclose(sample.features[i], planes[part].mean((1, 2)), atol=1e-5)


@pytest.mark.parametrize("window", [6, 7, 33, 48, 64, 128, 384])
def test_the_field_holds_every_corner_on_the_grid(window: int) -> None:
    sample = sampled(window=window, count=5)
    rgb = photo(1, 0)
    W = noise_residual(rgb)
    Z = fingerprint_model(1).fingerprint.numpy() * gray(rgb)
    saturation = saturation_plane(rgb)
    field, field_saturation = sample.blocks.field, sample.blocks.field_saturation
    assert field is not None
    assert field_saturation is not None
    corners = [range(0, side - window + 1, FIELD_STRIDE) for side in (HEIGHT, WIDTH)]
    assert field.shape == field_saturation.shape == (len(corners[0]), len(corners[1]))
    random = np.random.default_rng(0)
    ends = [(0, 0), (-1, -1), (0, -1), *random.integers(0, field.shape, (20, 2)).tolist()]
    for i, j in ends:
        y, x = corners[0][i], corners[1][j]
        part = np.s_[y : y + window, x : x + window]
        assert field[i, j] == pytest.approx(ncc(W[part], Z[part]), abs=2e-5)
        assert field_saturation[i, j] == pytest.approx(saturation[part].mean(), abs=1e-5)


def test_places_are_uniform_and_follow_from_seed_and_image() -> None:
    one = sampled(count=2000).blocks.positions
    assert len(np.unique(one, axis=0)) == 2000
    assert one.min() == 0
    last = np.array([HEIGHT, WIDTH]) - WINDOW
    assert (one <= last).all()
    np.testing.assert_allclose(one.mean(0), last / 2, rtol=0.05)
    np.testing.assert_array_equal(one, sampled(count=2000).blocks.positions)
    assert not np.array_equal(one, sampled(count=2000, seed=1).blocks.positions)
    assert not np.array_equal(one, sampled(number=1, count=2000).blocks.positions)
    np.testing.assert_array_equal(one, sampled(quality=75, count=2000).blocks.positions)


def test_a_small_image_has_fewer_places() -> None:
    assert len(sampled(window=HEIGHT, count=10_000).blocks.rho) == WIDTH - HEIGHT + 1


def test_without_the_fingerprint_the_correlations_are_chance() -> None:
    sample = sampled(count=400)
    assert len(sample.rho_absent) == 400
    sigma0 = fit_sigma0(sample.rho_absent)
    assert sigma0 == pytest.approx(1 / WINDOW, rel=0.3)
    assert abs(sample.rho_absent.mean()) < 0.2 * sigma0
    assert sample.blocks.rho.mean() > sigma0


def test_blocks_where_nothing_varies_are_left_out() -> None:
    rgb = photo(1, 0).copy()
    rgb[:, : WIDTH // 2] = 255
    model = fingerprint_model(1)
    hole = replace(model, fingerprint=model.fingerprint.clone())
    hole.fingerprint[:, : WIDTH // 2] = 0
    blocks = sample_blocks(hole, used("hole"), rgb, window=WINDOW, count=200).blocks
    assert blocks.field is not None
    unknown = np.arange(blocks.field.shape[1]) * FIELD_STRIDE + WINDOW <= WIDTH // 2
    np.testing.assert_array_equal(np.isnan(blocks.field), np.tile(unknown, (len(blocks.field), 1)))
    assert 0 < len(blocks.rho) < 200
    assert (blocks.positions[:, 1] > WIDTH // 2 - WINDOW).all()
    assert np.isfinite(blocks.rho).all()
    assert len(blocks.saturation) == len(blocks.rho) == len(blocks.positions)


def test_images_that_cannot_be_sampled_say_why() -> None:
    model = fingerprint_model(1)
    with pytest.raises(NotApplicable, match=rf"has {WIDTH - 8}x{HEIGHT} pixels"):
        sample_blocks(model, used("odd"), photo(1, 0)[:, 8:], window=WINDOW)
    with pytest.raises(NotApplicable, match="smaller than a block of 500 px"):
        sample_blocks(model, used("small"), photo(1, 0), window=500)


def test_tensor_pixels_give_the_same() -> None:
    image = used("1-0")
    model: CameraModel = fingerprint_model(1)
    pixels = torch.from_numpy(photo(1, 0).copy())
    sample = sample_blocks(model, image, pixels, window=WINDOW, count=40)
    np.testing.assert_array_equal(sample.blocks.rho, sampled().blocks.rho)


def test_gains_find_how_strongly_images_show_the_fingerprint() -> None:
    strengths = np.array([0.5, 1.0, 1.5])
    random = np.random.default_rng(0)
    triangles = []
    for strength in strengths:
        features = random.uniform(0.2, 0.8, (300, 4)).astype(np.float32)
        rho = strength * (0.1 * features[:, 0] + 0.05 * features[:, 1] ** 2)
        triangles.append(Triangle.of(features, rho.astype(np.float32)))
    np.testing.assert_allclose(image_gains(triangles), strengths, rtol=1e-3)


def test_saturated_blocks_do_not_count_for_the_gain() -> None:
    sample = sampled()
    saturation = sample.blocks.saturation.copy()
    saturation[:10] = 0.9
    marked = replace(sample, blocks=replace(sample.blocks, saturation=saturation))
    triangle = block_triangle(marked)
    expected = Triangle.of(sample.features[10:], sample.blocks.rho[10:])
    np.testing.assert_allclose(triangle.factor, expected.factor)
