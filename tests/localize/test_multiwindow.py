"""Sliding windows of several sizes on noise with a known fingerprint."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from forensics.localize.fusion import adaptive_window
from forensics.localize.multiwindow import multi_window
from forensics.localize.windows import sliding_window
from forensics.prnu.camera_model import WindowModel
from tests.localize.test_windows import SHAPE, model, signals

STRIDE = 8


def models(*sizes: int, rho: float = 0.2) -> list[WindowModel]:
    return [replace(model(rho), window=w, sigma0=1 / w, sigma1=1.5 / w) for w in sizes]


def test_every_cell_has_the_values_of_its_accepted_window() -> None:
    given, chosen = signals(), models(32, 64, 96, 128)
    maps = multi_window(given, chosen, STRIDE)
    single = [sliding_window(given, m, STRIDE, gain=maps.gain) for m in chosen]
    fused, scale = adaptive_window(torch.stack([m.probability for m in single]))
    assert torch.equal(maps.probability, fused)
    assert len(scale.unique()) > 1
    for i, j in [(0, 0), (16, 20), (9, 12), (32, 41), (22, 27)]:
        own = single[int(scale[i, j])]
        for name in ("rho", "rho_hat", "probability"):
            assert getattr(maps, name)[i, j] == getattr(own, name)[i, j]


def test_the_gain_is_that_of_the_window_nearest_to_128() -> None:
    given = signals(0.12)
    chosen = models(32, 96, 256)
    maps = multi_window(given, chosen, STRIDE)
    assert maps.gain == sliding_window(given, chosen[1], STRIDE).gain
    plain = [replace(m, image_gain=False) for m in chosen]
    assert multi_window(given, plain, STRIDE).gain == 1
    mixed = [chosen[0], plain[1], chosen[2]]
    assert multi_window(given, mixed, STRIDE).gain == sliding_window(given, chosen[0], STRIDE).gain


def test_the_order_of_the_models_does_not_matter() -> None:
    given, chosen = signals(), models(32, 64, 128)
    maps, reverse = multi_window(given, chosen), multi_window(given, chosen[::-1])
    assert all(torch.equal(a, b) for a, b in zip(maps[:3], reverse[:3], strict=True))


def test_one_size_is_the_single_sliding_window() -> None:
    given, chosen = signals(), models(64)
    single = sliding_window(given, chosen[0], STRIDE)
    assert all(
        torch.equal(a, b)
        for a, b in zip(multi_window(given, chosen, STRIDE)[:3], single[:3], strict=True)
    )


def test_small_forgeries_show_that_a_large_window_misses() -> None:
    given = signals(0.3)
    generator = torch.Generator().manual_seed(5)
    W = 0.3 * given.Z + torch.randn(SHAPE, generator=generator)
    W[120:160, 150:190] = torch.randn(40, 40, generator=generator)
    small = replace(given, W=W)
    chosen = models(32, 64, 128, rho=0.28)
    fused = multi_window(small, chosen, STRIDE).probability
    single = sliding_window(small, chosen[2], STRIDE).probability
    cell = (139 // STRIDE, 169 // STRIDE)
    assert fused[cell] > 0.8
    assert single[cell] < 0.5
    far = fused.clone()
    far[12:23, 16:27] = 0
    assert (far > 0.5).float().mean() < 0.02


def test_a_saturated_part_is_no_evidence_at_any_scale() -> None:
    given = signals()
    rgb = given.rgb.clone()
    rgb[20:200, 140:330] = 255
    maps = multi_window(replace(given, rgb=rgb), models(32, 64, 128), STRIDE)
    assert maps.probability[110 // STRIDE, 235 // STRIDE] == 0.5
    assert maps.rho_hat[110 // STRIDE, 235 // STRIDE] == 0


def test_needs_models_of_distinct_sizes() -> None:
    with pytest.raises(ValueError, match="distinct sizes"):
        multi_window(signals(), [])
    with pytest.raises(ValueError, match="distinct sizes"):
        multi_window(signals(), models(64, 64))
