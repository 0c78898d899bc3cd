"""The least-squares predictor learns, saves and stays within what it has seen."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from forensics.prnu.features import block_features, design
from forensics.prnu.predictors import PREDICTORS, LSEPredictor
from forensics.records import UserError


def some_features(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 1, (n, 4)).astype(np.float32)


def test_recovers_a_quadratic_exactly() -> None:
    theta = np.linspace(-0.02, 0.05, 15)
    features = some_features(200)
    rho = design(features.astype(np.float64)) @ theta
    predictor = LSEPredictor().fit_features(features, rho, window=64)
    np.testing.assert_allclose(predictor.state()["theta"], theta, atol=1e-6)
    np.testing.assert_allclose(predictor.predict_features(features), rho, atol=1e-6)


def test_equals_the_normal_equations_of_noisy_data() -> None:
    features = some_features(500).astype(np.float64)
    rho = 0.05 * features[:, 0] + np.random.default_rng(1).normal(0, 0.01, 500)
    F = design(features)
    expected = np.linalg.solve(F.T @ F, F.T @ rho)
    theta = LSEPredictor().fit_features(features, rho, window=64).state()["theta"]
    np.testing.assert_allclose(theta, expected, rtol=1e-6)


def test_weights_are_those_of_least_squares() -> None:
    features = some_features(300).astype(np.float64)
    rng = np.random.default_rng(1)
    rho, weights = rng.normal(0, 0.01, 300), rng.uniform(0, 2, 300)
    F = design(features)
    expected = np.linalg.solve(F.T @ (weights[:, None] * F), F.T @ (weights * rho))
    theta = LSEPredictor().fit_features(features, rho, 64, weights).state()["theta"]
    np.testing.assert_allclose(theta, expected, rtol=1e-6, atol=1e-9)


def test_undetermined_terms_do_not_blow_up() -> None:
    """All photos of one brightness, none flat: four terms carry nothing."""
    features = some_features(100)
    features[:, 0] = 0.5
    features[:, 2] = 0
    rho = 0.03 * features[:, 1]
    predictor = LSEPredictor().fit_features(features, rho, window=64)
    assert predictor.state()["theta"].abs().max() < 1
    np.testing.assert_allclose(predictor.predict_features(features), rho, atol=1e-6)


def test_stays_within_the_predictions_of_training() -> None:
    features = some_features(100)
    rho = features[:, 0] * 0.1
    predictor = LSEPredictor().fit_features(features, rho, window=64)
    far = predictor.predict_features(np.array([[9, 0, 0, 0], [-9, 0, 0, 0]], np.float32))
    np.testing.assert_allclose(far, [rho.max(), rho.min()], rtol=1e-5)


def test_learns_from_blocks_and_predicts_densely() -> None:
    rng = np.random.default_rng(0)
    blocks = np.stack(
        [
            (rng.uniform(10, 245) + rng.normal(0, rng.uniform(0, 30), (32, 32, 3))).clip(0, 255)
            for _ in range(60)
        ]
    ).astype(np.uint8)
    rho = 0.1 * block_features(blocks)[:, 0]
    predictor = LSEPredictor().fit(blocks, rho)
    assert predictor.window == 32
    np.testing.assert_allclose(predictor.predict(blocks), rho, atol=1e-5)
    flat = np.full((100, 90, 3), 125, np.uint8)
    dense = predictor.predict_dense(flat, stride=8)
    assert dense.shape == (13, 12)
    assert dense.dtype == np.float32
    np.testing.assert_allclose(dense, 0.05, atol=0.005)
    assert predictor.predict_dense(flat).shape == (100, 90)


def test_state_brings_it_back() -> None:
    features = some_features(100)
    predictor = LSEPredictor().fit_features(features, features[:, 0] ** 2, window=48)
    again = PREDICTORS["lse"].from_state(predictor.state())
    assert again.window == 48
    np.testing.assert_array_equal(
        again.predict_features(features), predictor.predict_features(features)
    )


def test_too_few_blocks() -> None:
    with pytest.raises(UserError, match="15 blocks of 64 px are too few"):
        LSEPredictor().fit_features(some_features(15), np.zeros(15), window=64)


def test_not_fitted() -> None:
    for call in (
        lambda: LSEPredictor().predict(np.zeros((1, 32, 32, 3), np.uint8)),
        lambda: LSEPredictor().predict_dense(np.zeros((64, 64, 3), np.uint8)),
        lambda: LSEPredictor().state(),
    ):
        with pytest.raises(ValueError, match="not been fitted"):
            call()


def test_damaged_state() -> None:
    with pytest.raises(UserError, match="lacks range, window"):
        LSEPredictor.from_state({"theta": torch.zeros(15)})


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        LSEPredictor().fit_features(some_features(20), np.zeros(21), window=64)
