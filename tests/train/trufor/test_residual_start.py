"""The start of phase 1: what the untrained network says of an image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import convolve

from forensics.train.trufor.losses import squared_distances
from forensics.train.trufor.residual_start import start_as_residual
from forensics.trufor.model import SCALE
from forensics.trufor.noiseprint import Noiseprint

KERNEL = np.array([[-1, 2, -1], [2, -4, 2], [-1, 2, -1]]) / 4


def started(depth: int = 6, channels: int = 8) -> Noiseprint:
    torch.manual_seed(0)
    net = Noiseprint(depth, channels)
    start_as_residual(net)
    return net


def patches(count: int = 6, side: int = 64) -> torch.Tensor:
    """Noise of a camera on scenes that are a hundred times stronger."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:side, :side]
    scenes = [128 + 90 * np.sin(a * x / 40 + b * y / 50) for a, b in rng.normal(0, 1, (count, 2))]
    noise = rng.normal(0, 1, (count, 3, side, side))
    return torch.from_numpy(np.stack(scenes)[:, None] + noise).float() / SCALE


def test_in_use_it_is_the_high_pass_filter() -> None:
    rgb = patches(1)
    with torch.no_grad():
        found = started().eval()(rgb)[0, 0].numpy()
    brightness = rgb[0].mean(0).numpy() * SCALE
    expected = convolve(brightness, KERNEL)
    inner = slice(6, -6), slice(6, -6)
    # batch norm's zeros and ones shift both parts alike; only its eps is left
    np.testing.assert_allclose(found[inner] / 0.02, expected[inner], atol=0.01 * np.ptp(expected))


def test_while_training_it_is_the_same_up_to_scale() -> None:
    rgb = patches()
    with torch.no_grad():
        found = started().train()(rgb)[:, 0, 6:-6, 6:-6].flatten().numpy()
    brightness = rgb.mean(1).numpy() * SCALE
    expected = np.stack([convolve(b, KERNEL) for b in brightness])[:, 6:-6, 6:-6].ravel()
    assert np.corrcoef(found, expected)[0, 1] > 0.95


def test_distances_begin_where_the_softmax_is_not_saturated() -> None:
    with torch.no_grad():
        residuals = started(17, 64).train()(patches())
    distances = squared_distances(residuals)
    far = distances[~torch.eye(6, dtype=torch.bool)]
    assert 0.5 < float(far.min()) < float(far.max()) < 30


def test_a_single_channel_cannot_carry_a_sign() -> None:
    with pytest.raises(ValueError, match="two channels"):
        start_as_residual(Noiseprint(3, 1))
