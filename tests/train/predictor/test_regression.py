"""The training loop: what it learns from, what it minimises, and that it can be interrupted."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from forensics.prnu.blocks import ImageBlocks
from forensics.prnu.predictors.network import CorrelationNetwork
from forensics.records import UserError
from forensics.train.predictor.regression import Epoch, Regression, TrainingSettings
from tests.prnu.predictors.test_network import SMALL
from tests.train.photos import WINDOW, photo

ADAM = TrainingSettings(epochs=4, batch=4, optimizer="adam", lr=2e-3)


def network(seed: int = 0) -> CorrelationNetwork:
    return CorrelationNetwork(SMALL, WINDOW, seed)


def trained(
    images: list[ImageBlocks], settings: TrainingSettings
) -> tuple[Regression, list[Epoch]]:
    regression = Regression(network(settings.seed), images, settings)
    return regression, list(regression.epochs())


def weights(regression: Regression) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in regression.network.state_dict().items()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_defaults_are_the_paper_s() -> None:
    settings = TrainingSettings()
    assert (settings.optimizer, settings.momentum, settings.epochs) == ("sgd", 0.9, 100)
    assert (settings.lr, settings.min_lr, settings.patience) == (1e-5, 1e-7, 2)
    assert (settings.schedule, settings.validation) == ("plateau", 0.3)


@pytest.mark.parametrize("wrong", [{"crop": 80, "split": "blocks"}, {"lr": 1e-8}, {"epoch": 3}])
def test_settings_are_checked(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        TrainingSettings.model_validate(wrong)


@pytest.mark.parametrize(
    "settings",
    [
        ADAM.model_copy(update={"epochs": 5, "batch": 6}),
        ADAM.model_copy(update={"epochs": 40, "batch": 2, "crop": 80}),
    ],
    ids=["blocks", "crops"],
)
def test_learns_to_predict_photos_it_has_not_seen(settings: TrainingSettings) -> None:
    images = [photo(number) for number in range(10)]
    regression, epochs = trained(images, settings)
    assert [epoch.number for epoch in epochs] == list(range(1, settings.epochs + 1))
    best = min(epochs, key=lambda epoch: epoch.validation_mse)
    assert regression.best == best
    assert best.adjusted_r2 > 0.8
    regression.finish()
    rho, predicted = regression.validate()
    assert np.square(rho - predicted).mean() == pytest.approx(best.validation_mse, rel=1e-6)


def test_a_step_of_sgd_is_that_of_the_formula() -> None:
    """A fresh network predicts its offset everywhere, so the bias has a gradient in closed form."""
    images = [photo(0, gain=0.5), photo(1, gain=2.0)]
    settings = TrainingSettings(epochs=1, batch=12, lr=1e-3, min_lr=1e-4)
    regression = Regression(network(), images, settings)
    (held_out,) = regression.samples.held_out_images
    seen = next(image for image in images if image.image_id != held_out)
    offset = float(regression.network.output_offset)
    scale = float(regression.network.output_scale)
    rho = seen.rho.astype(np.float64)
    assert offset == pytest.approx((rho / seen.gain).mean(), rel=1e-5)
    assert scale == pytest.approx((rho / seen.gain).std(), rel=1e-3)
    regression.network.output_offset.add_(scale)
    list(regression.epochs())
    gradient = np.mean(2 * seen.gain * (seen.gain * (offset + scale) - rho) / scale)
    assert gradient > 0.1
    assert float(regression.network.output.bias.detach()) == pytest.approx(-0.1 * gradient, 1e-3)


def test_the_errors_are_in_units_of_correlation() -> None:
    images = [photo(0), photo(1)]
    still = TrainingSettings(epochs=1, lr=1e-20, min_lr=1e-20)
    regression, (epoch,) = trained(images, still)
    by_name = {image.image_id: image for image in images}
    (held_out,) = regression.samples.held_out_images
    offset = float(regression.network.output_offset)
    (seen,) = by_name.keys() - {held_out}
    for mse, name in ((epoch.train_mse, seen), (epoch.validation_mse, held_out)):
        assert mse == pytest.approx(np.square(by_name[name].rho - offset).mean(), rel=1e-3)


@pytest.mark.parametrize(
    "settings",
    [
        ADAM,
        ADAM.model_copy(update={"crop": 80, "schedule": "cosine"}),
        TrainingSettings(epochs=4, batch=8, lr=1e-5, patience=0, min_lr=1e-7),
    ],
    ids=["adam", "crops-cosine", "sgd-plateau"],
)
def test_resumed_equals_uninterrupted(settings: TrainingSettings) -> None:
    images = [photo(number) for number in range(5)]
    whole, history = trained(images, settings)
    first = Regression(network(), images, settings)
    running = first.epochs()
    next(running)
    next(running)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    list(running)  # what happens after the state was taken must not reach it
    file.seek(0)
    second = Regression(network(seed=9), images[::-1], settings)
    second.load_state_dict(torch.load(file, weights_only=True))
    assert len(list(second.epochs())) == 2
    assert second.history == history
    assert second.best == whole.best
    assert same(weights(second), weights(whole))
    whole.finish()
    second.finish()
    assert same(weights(second), weights(whole))


def test_saturated_and_undefined_windows_do_not_count() -> None:
    images = [photo(number) for number in range(4)]
    spoiled = []
    for image in images:
        rho, saturation = image.rho.copy(), image.saturation.copy()
        field, field_saturation = image.field.copy(), image.field_saturation.copy()
        rho[0], rho[1], saturation[1] = np.nan, 0.9, 0.7
        field[0, 0], field[3, 3], field_saturation[3, 3] = np.nan, 0.9, 0.7
        spoiled.append(
            replace(
                image, rho=rho, saturation=saturation,
                field=field, field_saturation=field_saturation,
            )
        )  # fmt: skip
    blocks, _ = trained(spoiled, ADAM.model_copy(update={"epochs": 1}))
    assert len(blocks.validate()[0]) == 10
    regression, (epoch, *_) = trained(spoiled, ADAM.model_copy(update={"crop": 104, "epochs": 1}))
    assert epoch.train_mse < 0.01
    assert len(regression.validate()[0]) == 34


def test_bfloat16_learns_nearly_the_same() -> None:
    images = [photo(number) for number in range(6)]
    exact = trained(images, ADAM)[1]
    rough = trained(images, ADAM.model_copy(update={"precision": "bfloat16"}))[1]
    assert rough[0].train_mse != exact[0].train_mse
    assert rough[-1].validation_mse == pytest.approx(exact[-1].validation_mse, rel=0.5)


@pytest.mark.parametrize(
    ("images", "settings", "message"),
    [
        ([photo(0)], ADAM, "1 photos"),
        ([], ADAM, "one window size"),
        ([photo(0), photo(1)], ADAM.model_copy(update={"crop": 112}), "too small for crops of 112"),
        ([photo(0), photo(1)], ADAM.model_copy(update={"crop": 70}), "multiple of 8"),
        ([photo(0), photo(1)], ADAM.model_copy(update={"crop": 56}), "multiple of 8"),
        (
            [photo(0), replace(photo(1), field=None, field_saturation=None)],
            ADAM.model_copy(update={"crop": 80}),
            "photo1 has no field",
        ),
    ],
)
def test_what_cannot_be_trained_on(
    images: list[ImageBlocks], settings: TrainingSettings, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        Regression(network(), images, settings)


def test_a_network_for_another_window() -> None:
    with pytest.raises(UserError, match="blocks of 64 px cannot train a network of 72 px"):
        Regression(CorrelationNetwork(SMALL, 72), [photo(0), photo(1)], ADAM)


def test_divergence_is_told() -> None:
    images = [photo(number) for number in range(3)]
    with pytest.raises(UserError, match="lower lr"):
        trained(images, TrainingSettings(lr=1e6, epochs=5))
