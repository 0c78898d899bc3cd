"""One function of the features times a gain per image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from forensics.prnu.features import design
from forensics.prnu.predictors import LSEPredictor
from forensics.prnu.regression import MAX_GAIN, Triangle, fit, image_gain

THETA = np.array([0.01, 0.05, 0.02, -0.01, 0.03, *np.linspace(-0.01, 0.02, 10)])


def image(
    seed: int, gain: float = 1.0, n: int = 400, noise: float = 0.0
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    features = rng.uniform(0, 1, (n, 4)).astype(np.float32)
    rho = gain * design(features.astype(np.float64)) @ THETA + rng.normal(0, noise, n)
    return features, rho


def test_one_image_is_plain_least_squares() -> None:
    features, rho = image(0, noise=0.01)
    theta = fit([Triangle.of(features, rho)]).theta
    plain = LSEPredictor().fit_features(features, rho, window=64).state()["theta"]
    np.testing.assert_allclose(theta, plain, atol=1e-9)


def test_gains_are_told_from_the_function() -> None:
    gains = (0.5, 1.0, 1.5)
    images = [Triangle.of(*image(i, gain)) for i, gain in enumerate(gains)]
    theta, found, _ = fit(images)
    np.testing.assert_allclose(found, gains, atol=1e-6)
    np.testing.assert_allclose(theta, THETA, atol=1e-6)  # the mean gain is 1
    np.testing.assert_allclose([i.gain(theta) for i in images], gains, atol=1e-6)


def test_other_cameras_give_the_function_and_not_the_strength() -> None:
    own = Triangle.of(*image(0, 1.0, n=8))  # too few windows for 15 terms
    others = [Triangle.of(*image(i, 3.0)) for i in range(1, 5)]
    theta = fit([own], others).theta
    np.testing.assert_allclose(theta, THETA, rtol=1e-3, atol=1e-5)


def test_many_others_do_not_drown_the_camera() -> None:
    own = [Triangle.of(*image(i, noise=0.005)) for i in range(20)]
    strange = []
    for i in range(200):
        features, rho = image(100 + i)
        strange.append(Triangle.of(features, rho[::-1].copy()))
    alone, helped = fit(own).theta, fit(own, strange).theta
    features, rho = image(99)
    terms = design(features.astype(np.float64))
    assert np.abs(terms @ helped - rho).mean() < 0.15 * rho.mean()
    assert np.abs(terms @ alone - rho).mean() < 0.02 * rho.mean()


def test_image_gain_is_the_slope_through_zero() -> None:
    rho_hat = np.array([0.01, 0.02, 0.04], np.float32)
    assert image_gain(rho_hat * 0.7, rho_hat) == pytest.approx(0.7)
    assert image_gain(-rho_hat, rho_hat) == 0
    assert image_gain(9 * rho_hat, rho_hat) == MAX_GAIN
    assert image_gain(rho_hat, np.zeros(3, np.float32)) == 1
    assert image_gain(torch.tensor([0.01]), torch.tensor([0.02])) == pytest.approx(0.5)


def test_a_tampered_part_lowers_the_gain_by_its_share() -> None:
    rho_hat = np.full(1000, 0.03)
    rho = rho_hat.copy()
    rho[:100] = 0
    assert image_gain(rho, rho_hat) == pytest.approx(0.9)
