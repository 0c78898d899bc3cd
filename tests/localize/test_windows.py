"""The sliding window on noise with a known fingerprint."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from forensics.localize.signals import Signals
from forensics.localize.windows import sliding_window
from forensics.prnu.camera_model import WindowModel
from forensics.prnu.correlation import ncc_field
from forensics.prnu.hypothesis import tampering_probability
from forensics.prnu.predictors import LSEPredictor
from forensics.prnu.regression import image_gain

WINDOW, STRIDE = 64, 8
SHAPE = (257, 331)


def constant_predictor(rho: float) -> LSEPredictor:
    state = {
        "theta": torch.tensor([rho] + [0.0] * 14, dtype=torch.float64),
        "range": torch.tensor([rho, rho], dtype=torch.float64),
        "window": torch.tensor(WINDOW),
    }
    return LSEPredictor.from_state(state)


def model(rho: float, sigma1: float = 0.03) -> WindowModel:
    return WindowModel(
        window=WINDOW,
        predictor=constant_predictor(rho),
        sigma0=1 / WINDOW,
        sigma1=sigma1,
        adjusted_r2=0.5,
        blocks=100,
        images=2,
    )


def signals(strength: float = 0.2) -> Signals:
    generator = torch.Generator().manual_seed(0)
    rgb = torch.randint(90, 110, (*SHAPE, 3), generator=generator, dtype=torch.uint8)
    Z = torch.randn(SHAPE, generator=generator)
    W = strength * Z + torch.randn(SHAPE, generator=generator)
    W[80:180, 100:220] = torch.randn(100, 120, generator=generator)
    return Signals(rgb, W, Z)


@pytest.mark.parametrize("sigma1", [0.03, 0.01])
def test_finds_where_the_fingerprint_is_missing(sigma1: float) -> None:
    maps = sliding_window(signals(), model(0.2, sigma1), STRIDE)
    for values in maps[:3]:
        assert values.shape == (-(-SHAPE[0] // STRIDE), -(-SHAPE[1] // STRIDE))
        assert values.dtype == torch.float32
    assert maps.probability[130 // STRIDE, 160 // STRIDE] > 0.99
    assert maps.probability[:4].max() < 0.5
    assert maps.probability[:, :8].max() < 0.5


def test_inside_the_image_it_is_the_formula() -> None:
    given = signals()
    maps = sliding_window(given, model(0.2), STRIDE)
    rho = ncc_field(given.W, given.Z, WINDOW, STRIDE)
    assert torch.equal(maps.rho, rho)
    inner = (slice(4, 28), slice(4, 37))
    expected = tampering_probability(rho, maps.rho_hat, 1 / WINDOW, 0.03)
    torch.testing.assert_close(maps.probability[inner], expected[inner], rtol=1e-4, atol=1e-6)


def test_a_large_forgery_does_not_lower_the_gain() -> None:
    """A seventh of the image is replaced; the rest shows what was predicted."""
    maps = sliding_window(signals(), model(0.2), STRIDE)
    assert image_gain(maps.rho, torch.full_like(maps.rho, 0.2)) < 0.87
    assert maps.gain > 0.92
    torch.testing.assert_close(maps.rho_hat, torch.full_like(maps.rho_hat, 0.2 * maps.gain))


def test_the_prediction_follows_how_strongly_the_image_shows_it() -> None:
    """An image of half the strength is no forgery."""
    given = signals()
    generator = torch.Generator().manual_seed(1)
    W = 0.1 * given.Z + torch.randn(SHAPE, generator=generator)
    maps = sliding_window(Signals(given.rgb, W, given.Z), model(0.2), STRIDE)
    assert maps.gain == pytest.approx(0.5, abs=0.05)
    assert maps.probability.max() < 0.5


def test_a_cut_window_is_less_sure() -> None:
    """The window of the corner cell has 36 x 36 of its 64 x 64 pixels."""
    given = signals(0.0)
    blank = Signals(given.rgb, torch.zeros(SHAPE), given.Z)
    certain = sliding_window(blank, model(0.2), STRIDE)
    assert certain.gain == 0
    expected = 1 / (1 + (1 / 36) / np.sqrt(0.03**2 - 1 / WINDOW**2 + 1 / 36**2))
    assert float(certain.probability[0, 0]) == pytest.approx(expected, rel=1e-5)
    assert float(certain.probability[16, 20]) == pytest.approx(
        1 / (1 + 1 / WINDOW / 0.03), rel=1e-5
    )


@pytest.mark.parametrize("shape", [(1, 1), (7, 300), (64, 64)])
def test_images_smaller_than_the_window(shape: tuple[int, int]) -> None:
    rgb = torch.zeros(*shape, 3, dtype=torch.uint8)
    blank = Signals(rgb, torch.zeros(shape), torch.zeros(shape))
    maps = sliding_window(blank, model(0.2), STRIDE)
    assert maps.probability.shape == (-(-shape[0] // 8), -(-shape[1] // 8))
    assert bool(maps.probability.isfinite().all())


def test_a_saturated_part_is_no_evidence() -> None:
    """The predictor knows nothing of such content, so neither answer would be founded."""
    given = signals()
    rgb = given.rgb.clone()
    rgb[40:160, 200:320] = 255
    maps = sliding_window(Signals(rgb, given.W, given.Z), model(0.2), STRIDE)
    assert maps.probability[100 // STRIDE, 260 // STRIDE] == 0.5
    assert maps.rho_hat[100 // STRIDE, 260 // STRIDE] == 0


def test_without_an_image_gain_the_prediction_stands() -> None:
    given = signals()
    plain = replace(model(0.2), image_gain=False)
    maps = sliding_window(given, plain, STRIDE)
    assert maps.gain == 1
    torch.testing.assert_close(maps.rho_hat, torch.full_like(maps.rho_hat, 0.2))
