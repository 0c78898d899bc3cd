"""Spreads and predictions between the window sizes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.interpolate import CubicSpline

from forensics.localize.sizes import SizeModel
from forensics.prnu.camera_model import WindowModel
from forensics.prnu.predictors import LSEPredictor

SIDES = (32, 48, 64, 96, 128, 192, 256)


def window(side: int) -> WindowModel:
    return WindowModel(
        window=side,
        predictor=LSEPredictor(),
        sigma0=1 / side,
        sigma1=1 / side + 0.01,
        adjusted_r2=0.5,
        blocks=100,
        images=2,
    )


MODEL = SizeModel([window(side) for side in reversed(SIDES)])


def test_the_nodes_come_back() -> None:
    sides = torch.tensor(SIDES)
    np.testing.assert_allclose(MODEL.sigma0(sides), [1 / s for s in SIDES])
    np.testing.assert_allclose(MODEL.sigma1(sides), [1 / s + 0.01 for s in SIDES])
    at_windows = torch.rand(len(SIDES), len(SIDES), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(MODEL.rho_hat(sides, at_windows), at_windows.diagonal())


def test_between_them_it_is_the_cubic_spline() -> None:
    sides = np.array([40, 100, 111.5, 200])
    expected = CubicSpline(SIDES, [1 / s for s in SIDES])(sides)
    np.testing.assert_allclose(MODEL.sigma0(torch.from_numpy(sides)), expected)
    at_windows = np.random.default_rng(0).uniform(0.1, 0.2, (len(SIDES), len(sides)))
    expected = [CubicSpline(SIDES, at_windows[:, j])(side) for j, side in enumerate(sides)]
    found = MODEL.rho_hat(torch.from_numpy(sides), torch.from_numpy(at_windows))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_beyond_the_windows_their_values_hold() -> None:
    sides = torch.tensor([1.0, 1000.0])
    np.testing.assert_allclose(MODEL.sigma0(sides), [1 / 32, 1 / 256])
    at_windows = torch.linspace(0.1, 0.2, len(SIDES))[:, None].expand(-1, 2)
    torch.testing.assert_close(MODEL.rho_hat(sides, at_windows), torch.tensor([0.1, 0.2]))


def test_predictions_are_not_negative_and_spreads_above_zero() -> None:
    jagged = torch.tensor([-0.1, 0.3, -0.2, 0.3, -0.1, 0.2, -0.3])[:, None].expand(-1, 300)
    sides = torch.linspace(20, 300, 300)
    assert MODEL.rho_hat(sides, jagged).min() == 0
    assert MODEL.sigma0(sides).min() > 0


def test_one_window_stands_for_all_sizes() -> None:
    alone = SizeModel([window(128)])
    sides = torch.tensor([10.0, 128.0, 500.0])
    np.testing.assert_allclose(alone.sigma0(sides), [1 / 128] * 3)
    torch.testing.assert_close(
        alone.rho_hat(sides, torch.tensor([[0.1, 0.2, 0.3]])), torch.tensor([0.1, 0.2, 0.3])
    )


@pytest.mark.parametrize("models", [[], [window(64), window(64)]])
def test_no_window_and_one_twice_are_refused(models: list[WindowModel]) -> None:
    with pytest.raises(ValueError, match="distinct sizes"):
        SizeModel(models)
