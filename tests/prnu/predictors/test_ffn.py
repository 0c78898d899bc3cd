"""The feed-forward predictor learns what is not quadratic, repeats itself, and saves."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from forensics.prnu.features import block_features, design
from forensics.prnu.predictors import PREDICTORS, FFNPredictor, LSEPredictor
from forensics.prnu.predictors.ffn import MAX_ROWS
from forensics.records import UserError

PARAMETERS = (
    5 * 14 + 5 + 5 + 1
)  # weights and shifts of the neurons, weights and shift of the output


def some_features(n: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).uniform(0, 1, (n, 4)).astype(np.float32)


def bent(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Correlations that rise steeply at one intensity, where texture is low."""
    rise: NDArray[np.float32] = 0.05 / (1 + np.exp(-20 * (features[:, 0] - 0.5)))
    return rise * (1 - 0.5 * features[:, 1])


def test_learns_what_no_quadratic_can() -> None:
    features, fresh = some_features(2000), some_features(500, seed=1)
    rho = bent(features) + np.random.default_rng(2).normal(0, 0.002, 2000)
    ffn = FFNPredictor().fit_features(features, rho, window=64)
    lse = LSEPredictor().fit_features(features, rho, window=64)
    wrong = [np.square(p.predict_features(fresh) - bent(fresh)).mean() for p in (ffn, lse)]
    assert wrong[0] < 0.0015**2
    assert wrong[0] < wrong[1] / 4


def test_a_quadratic_is_no_harder() -> None:
    features, fresh = some_features(1000), some_features(300, seed=1)
    theta = np.linspace(-0.02, 0.05, 15)
    rho, expected = design(features.astype(np.float64)) @ theta, design(fresh) @ theta
    predictor = FFNPredictor().fit_features(features, rho, window=64)
    error = np.sqrt(np.square(predictor.predict_features(fresh) - expected).mean())
    assert error < 0.05 * rho.std()


def test_the_seed_decides() -> None:
    features = some_features(400)
    rho = bent(features)
    one, same, other = (
        FFNPredictor(seed=seed).fit_features(features, rho, window=64).predict_features(features)
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


def test_weights_count_like_repeated_rows() -> None:
    """What a row of weight 0 says is not learned; twice a row is a row of weight 2."""
    features = some_features(600)
    rho = bent(features)
    spoiled = rho.copy()
    spoiled[300:] = 1
    weights = np.repeat([1.0, 0.0], 300)
    trusting = FFNPredictor().fit_features(features, spoiled, 64, weights)
    alone = FFNPredictor().fit_features(features[:300], rho[:300], 64)
    np.testing.assert_allclose(
        trusting.predict_features(features[:300]), alone.predict_features(features[:300]), atol=1e-6
    )
    twice = FFNPredictor().fit_features(
        np.concatenate([features, features[:100]]), np.concatenate([rho, rho[:100]]), 64
    )
    double = FFNPredictor().fit_features(features, rho, 64, np.repeat([2.0, 1.0], [100, 500]))
    np.testing.assert_allclose(
        twice.predict_features(features), double.predict_features(features), atol=1e-5
    )


def test_many_rows_are_drawn_from_but_all_bound_the_range() -> None:
    features = some_features(3 * MAX_ROWS)
    predictor = FFNPredictor().fit_features(features, bent(features), window=32)
    seen = predictor.predict_features(features)
    np.testing.assert_allclose(seen, bent(features), atol=0.006)
    low, high = predictor.state()["range"].tolist()
    assert (seen.min(), seen.max()) == (np.float32(low), np.float32(high))


def test_stays_within_the_predictions_of_training() -> None:
    features = some_features(300)
    predictor = FFNPredictor().fit_features(features, bent(features), window=64)
    seen = predictor.predict_features(features)
    far = predictor.predict_features(50 * (some_features(200, seed=3) - 0.5))
    assert far.min() >= seen.min()
    assert far.max() <= seen.max()


@pytest.mark.parametrize("column", [0, 2])
def test_constant_features_and_targets(column: int) -> None:
    features = some_features(300)
    features[:, column] = 0
    rho = bent(features)
    predictor = FFNPredictor().fit_features(features, rho, window=64)
    np.testing.assert_allclose(predictor.predict_features(features), rho, atol=0.004)
    flat = FFNPredictor().fit_features(features, np.full(300, 0.02), window=64)
    np.testing.assert_allclose(flat.predict_features(features), 0.02, atol=1e-4)


def test_learns_from_blocks_and_predicts_densely() -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 1, (90, 32, 32, 3)) * rng.uniform(0, 30, (90, 1, 1, 1))
    blocks = (rng.uniform(10, 245, (90, 1, 1, 1)) + noise).clip(0, 255).astype(np.uint8)
    rho = 0.1 * block_features(blocks)[:, 0]
    predictor = FFNPredictor().fit(blocks, rho)
    assert predictor.window == 32
    np.testing.assert_allclose(predictor.predict(blocks), rho, atol=0.005)
    flat = np.full((100, 90, 3), 125, np.uint8)
    dense = predictor.predict_dense(flat, stride=8)
    assert dense.shape == (13, 12)
    assert dense.dtype == np.float32
    np.testing.assert_allclose(dense, predictor.predict(flat[None, :32, :32])[0], atol=1e-4)


def test_any_leading_shape_and_tensors() -> None:
    features = some_features(300)
    predictor = FFNPredictor().fit_features(features, bent(features), window=64)
    flat = predictor.predict_features(features)
    grid = predictor.predict_features(torch.from_numpy(features).reshape(20, 15, 4))
    assert isinstance(grid, torch.Tensor)
    assert grid.dtype == torch.float32
    np.testing.assert_array_equal(grid.reshape(-1).numpy(), flat)
    assert predictor.predict_features(features[0]).shape == ()
    assert predictor.predict_features(features[:0]).shape == (0,)


def test_state_brings_it_back() -> None:
    features = some_features(300)
    predictor = FFNPredictor(hidden=3).fit_features(features, bent(features), window=48)
    again = PREDICTORS["ffn"].from_state(predictor.state())
    assert (again.window, again.hidden) == (48, 3)
    np.testing.assert_array_equal(
        again.predict_features(features), predictor.predict_features(features)
    )


def test_too_few_blocks() -> None:
    features = some_features(PARAMETERS + 1)
    FFNPredictor().fit_features(features, bent(features), window=64)
    few = features[:PARAMETERS]
    with pytest.raises(UserError, match="81 blocks of 64 px are too few for a network of 81"):
        FFNPredictor().fit_features(few, bent(few), window=64)


def test_not_fitted() -> None:
    for call in (
        lambda: FFNPredictor().predict(np.zeros((1, 32, 32, 3), np.uint8)),
        lambda: FFNPredictor().predict_dense(np.zeros((64, 64, 3), np.uint8)),
        lambda: FFNPredictor().state(),
    ):
        with pytest.raises(ValueError, match="not been fitted"):
            call()


def test_damaged_state() -> None:
    with pytest.raises(UserError, match="lacks offset, output, range, weight, window"):
        FFNPredictor.from_state({"bias": torch.zeros(5)})


def test_shapes_and_weights_must_make_sense() -> None:
    features = some_features(200)
    with pytest.raises(ValueError, match="do not fit"):
        FFNPredictor().fit_features(features, np.zeros(201), window=64)
    for weights in (np.zeros(200), np.full(200, -1.0)):
        with pytest.raises(ValueError, match="must not be negative"):
            FFNPredictor().fit_features(features, bent(features), 64, weights)
    with pytest.raises(ValueError, match="one neuron"):
        FFNPredictor(hidden=0)
