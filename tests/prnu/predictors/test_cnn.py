"""The CNN predictor as every predictor: learn, predict, be kept."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from forensics.prnu.predictors import PREDICTORS, CNNPredictor
from forensics.records import UserError
from forensics.train.predictor.regression import TrainingSettings
from tests.prnu.predictors.test_network import SMALL, pixels, random_network

QUICK = TrainingSettings(epochs=10, optimizer="adam", lr=3e-3, batch=16)


def flat_blocks(count: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Noise around a level: brighter blocks correlate more."""
    rng = np.random.default_rng(0)
    level = rng.uniform(40, 200, count)
    noise = rng.normal(0, 4, (count, 64, 64, 3))
    blocks = np.rint(level[:, None, None, None] + noise).clip(0, 255).astype(np.uint8)
    return blocks, (level / 4000).astype(np.float32)


def test_learns_and_predicts_blocks_and_images_alike() -> None:
    blocks, rho = flat_blocks(96)
    predictor = CNNPredictor(SMALL, QUICK).fit(blocks, rho)
    assert predictor.window == 64
    predicted = predictor.predict(blocks)
    assert isinstance(predicted, np.ndarray)
    assert predicted.dtype == np.float32
    assert predicted.shape == (96,)
    assert np.square(predicted - rho).mean() < 0.2 * rho.var()
    image = blocks[:4].reshape(2, 2, 64, 64, 3).swapaxes(1, 2).reshape(128, 128, 3)
    dense = predictor.predict_dense(image, stride=64)
    assert isinstance(dense, np.ndarray)
    np.testing.assert_allclose(dense.ravel(), predicted[:4], atol=1e-6)


def test_saturated_blocks_are_not_learned_from() -> None:
    blocks, rho = flat_blocks(40)
    white = np.full((20, 64, 64, 3), 255, np.uint8)
    settings = TrainingSettings(epochs=1, optimizer="adam", lr=1e-3)
    alone = CNNPredictor(SMALL, settings).fit(blocks, rho)
    both = CNNPredictor(SMALL, settings).fit(
        np.concatenate([blocks, white]), np.concatenate([rho, np.full(20, 0.9, np.float32)])
    )
    np.testing.assert_array_equal(alone.predict(blocks), both.predict(blocks))
    with pytest.raises(UserError, match="0 photos with unsaturated windows"):
        CNNPredictor(SMALL, settings).fit(white, np.zeros(20, np.float32))


def test_is_kept_as_plain_tensors() -> None:
    predictor = CNNPredictor().take(random_network(SMALL, 64))
    state = predictor.state()
    assert all(type(value) is torch.Tensor for value in state.values())
    assert state["window"].tolist() == 64
    assert state["widths"].tolist() == list(SMALL.widths)
    again = PREDICTORS["cnn"].from_state(state)
    assert again.window == 64
    assert again.settings == SMALL
    blocks = torch.stack([pixels(64, 64, seed) for seed in range(3)])
    assert torch.equal(again.predict(blocks), predictor.predict(blocks))
    state["network.output.bias"].add_(1)
    assert torch.equal(again.predict(blocks), predictor.predict(blocks))


@pytest.mark.parametrize("name", ["window", "network.output_scale", "network.stages.1.2.weight"])
def test_a_state_that_is_not_whole(name: str) -> None:
    state = CNNPredictor().take(random_network(SMALL, 64)).state()
    del state[name]
    with pytest.raises(UserError, match=name.removeprefix("network.")):
        CNNPredictor.from_state(state)


def test_a_state_of_another_shape() -> None:
    state = CNNPredictor().take(random_network(SMALL, 64)).state()
    with pytest.raises(UserError, match="hidden"):
        CNNPredictor.from_state(state | {"window": torch.tensor(72)})
    with pytest.raises(UserError, match="widths"):
        CNNPredictor.from_state(state | {"widths": torch.tensor([1, 2])})


def test_does_not_predict_before_it_has_learned() -> None:
    predictor = CNNPredictor()
    assert predictor.window is None
    for call in (
        lambda: predictor.predict(pixels(64, 64)[None]),
        lambda: predictor.predict_dense(pixels(64, 64)),
        predictor.state,
    ):
        with pytest.raises(ValueError, match="not been fitted"):
            call()


def test_what_cannot_be_fitted_or_predicted() -> None:
    blocks, rho = flat_blocks(4)
    with pytest.raises(ValueError, match="rho"):
        CNNPredictor(SMALL, QUICK).fit(blocks, rho[:3])
    with pytest.raises(UserError, match="does not fit"):
        CNNPredictor(SMALL, QUICK).fit(blocks[:, :60, :60], rho)
    fitted = CNNPredictor().take(random_network(SMALL, 64))
    with pytest.raises(ValueError, match="64, 64, 3"):
        fitted.predict(blocks[:, :60])
