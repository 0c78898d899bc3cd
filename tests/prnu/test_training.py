"""Training: what replaces what, on which images errors count, with and without gains."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from forensics.evaluate.metrics import adjusted_r2
from forensics.prnu.camera_model import CameraModel
from forensics.prnu.folds import FOLDS, Fitter, folds
from forensics.prnu.predictors import FFNPredictor, LSEPredictor
from forensics.prnu.recompress import recompress
from forensics.prnu.sampling import PristineSample
from forensics.prnu.training import pristine_sample, train
from forensics.records import UserError
from tests.prnu.cameras import HEIGHT, WIDTH, fingerprint_model, photo, used

Floats = NDArray[np.float32]

BARE = CameraModel("c", torch.zeros(8, 8), 5.0, 4, ())


def rise(features: Floats) -> Floats:
    result: Floats = 0.02 + 0.06 / (1 + np.exp(-15 * (features[:, 0] - 0.5)))
    return result


def flat(features: Floats) -> Floats:
    return np.zeros(len(features), np.float32)


def made_up(
    name: str,
    gain: float = 1.0,
    law: Callable[[Floats], Floats] = rise,
    sizes: tuple[int, ...] = (64, 128),
    n: int = 120,
    noise: float = 0.004,
    jpeg_quality: int | None = None,
) -> PristineSample:
    """A sample whose correlations follow a law of the features."""
    rng = np.random.default_rng([ord(c) for c in name])
    features = {size: rng.uniform(0, 1, (n, 4)).astype(np.float32) for size in sizes}
    rho = {
        size: (gain * law(f) + rng.normal(0, noise, n)).astype(np.float32)
        for size, f in features.items()
    }
    largest = max(sizes)
    return PristineSample(
        image=used(name),
        features=features,
        rho=rho,
        rho_absent={size: rng.normal(0, 1 / size, n).astype(np.float32) for size in sizes},
        audit_features=features[largest][:120].reshape(10, 12, 4),
        audit_rho=rho[largest][:120].reshape(10, 12),
        audit_saturation=np.zeros((10, 12), np.float32),
        jpeg_quality=jpeg_quality,
    )


def some(count: int, start: str = "", **changes: object) -> list[PristineSample]:
    return [made_up(f"{start}{i:02d}", **changes) for i in range(count)]  # type: ignore[arg-type]


def kinds(model: CameraModel) -> list[tuple[int, str, int | None]]:
    return [(w.window, w.predictor.name, w.jpeg_quality) for w in model.windows]


def test_folds_hold_out_every_image_once() -> None:
    for count in (1, 2, 10, 11, 25, 40):
        parts = folds(count)
        assert [i for part in parts for i in part] == list(range(count))
        assert len(parts) == min(count, FOLDS)
        sizes = {len(part) for part in parts}
        assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(("count", "held_out"), [(4, 1), (20, 2)])
def test_errors_are_those_of_predictors_that_have_not_seen_the_image(
    count: int, held_out: int
) -> None:
    samples = some(count, noise=0.01, sizes=(64,))
    model = train(BARE, samples).window(64)
    unseen = []
    for first in range(0, count, held_out):
        fitter = Fitter(LSEPredictor, 64, samples[:first] + samples[first + held_out :])
        predictor = fitter.all()
        unseen += [fitter.predict(predictor, s) for s in samples[first : first + held_out]]
    rho, rho_hat = np.concatenate([s.rho[64] for s in samples]), np.concatenate(unseen)
    assert model.sigma1 == pytest.approx(np.sqrt(np.square(rho - rho_hat).mean()), rel=1e-5)
    assert model.adjusted_r2 == pytest.approx(adjusted_r2(rho, rho_hat, 14), rel=1e-4)


@pytest.mark.parametrize("predictor", ["lse", "ffn"])
def test_what_cannot_be_predicted_has_no_r2(predictor: str) -> None:
    """Seen images would give the network some."""
    model = train(BARE, some(5, law=flat), predictor=predictor, image_gain=False)
    assert model.window(64).adjusted_r2 < 0.05


def test_a_network_learns_what_least_squares_cannot() -> None:
    samples = [made_up(f"{i}", gain, n=240) for i, gain in enumerate((0.6, 0.8, 1.0, 1.2, 1.4))]
    model = train(BARE, samples)
    model = train(model, samples[::-1], predictor="ffn")
    lse, ffn = (model.window(64, predictor=name) for name in ("lse", "ffn"))
    assert ffn.sigma1 < 0.8 * lse.sigma1
    assert ffn.adjusted_r2 > lse.adjusted_r2
    assert isinstance(ffn.predictor, FFNPredictor)
    middle = np.full((1, 4), 0.5, np.float32)
    assert ffn.predictor.predict_features(middle)[0] == pytest.approx(0.05, abs=0.004)


def test_without_gains_it_is_the_plain_method() -> None:
    samples = [made_up(f"{i}", gain) for i, gain in enumerate((0.5, 1.0, 1.5))]
    plain = train(BARE, samples, image_gain=False).window(64)
    assert not plain.image_gain
    features = np.concatenate([s.features[64] for s in samples])
    rho = np.concatenate([s.rho[64] for s in samples])
    theta = LSEPredictor().fit_features(features, rho, 64).state()["theta"]
    torch.testing.assert_close(plain.predictor.state()["theta"], theta, rtol=1e-6, atol=1e-8)
    scaled = train(BARE, samples).window(64)
    assert scaled.image_gain
    assert scaled.sigma1 < 0.7 * plain.sigma1


def test_only_its_kind_is_replaced() -> None:
    samples, few = some(6), some(4, "x")
    both = train(train(BARE, samples), samples, predictor="ffn")
    at_75 = some(3, "q", jpeg_quality=75)
    model = train(both, at_75, jpeg_quality=75)
    assert kinds(model) == [
        (size, *kind) for size in (64, 128) for kind in (("ffn", None), ("lse", None), ("lse", 75))
    ]
    names = [image.image_id for image in model.training]
    assert names == sorted(s.image.image_id for s in (*samples, *at_75))
    assert model.false_alarms == both.false_alarms

    again = train(model, few)
    assert kinds(again) == kinds(model)
    for was, now in zip(model.windows, again.windows, strict=True):
        assert (was is now) == ((was.predictor.name, was.jpeg_quality) != ("lse", None))
    assert len(again.training) == len(model.training) + len(few)
    assert train(model, few[::-1]).digest == again.digest


def test_alone_it_leaves_nothing_of_the_model_before() -> None:
    assert train(train(BARE, some(6)), some(4, "x")).digest == train(BARE, some(4, "x")).digest


def test_reasons_stay_until_a_size_is_trained() -> None:
    short = [replace(s, rho={64: s.rho[64], 128: s.rho[128][:5]}) for s in some(3)]
    short = [replace(s, features={64: s.features[64], 128: s.features[128][:5]}) for s in short]
    first = train(BARE, short)
    assert first.left_out["128"].startswith("15 windows of 128 px in 3 photos are too few")
    assert train(
        first, some(3, jpeg_quality=90), jpeg_quality=90, predictor="ffn"
    ).left_out.keys() == (first.left_out.keys() - {"128"})
    with pytest.raises(UserError, match=r"no predictor .*15 windows of 128 px"):
        first.window(128)
    assert first.false_alarms == ()  # the audit's windows are among those left out


def test_the_audit_is_of_the_best_predictor_of_images_as_they_are() -> None:
    samples = some(5, n=120)
    lse = train(BARE, samples)
    assert len(lse.false_alarms) == 5
    ffn = train(lse, samples, predictor="ffn")
    better = ffn.window(128).predictor.name
    assert better == "ffn"
    assert ffn.false_alarms != lse.false_alarms
    assert train(ffn, samples).false_alarms == ffn.false_alarms
    assert train(BARE, samples, predictor="ffn").false_alarms == ffn.false_alarms
    assert train(BARE, samples[:1]).false_alarms == ()


def test_saturated_cells_raise_no_alarm() -> None:
    samples = some(4)
    silent = samples[0].audit_rho.copy()
    silent[2:9, 2:9] = 0
    forged = [replace(samples[0], audit_rho=silent), *samples[1:]]
    alarm = train(BARE, forged).false_alarms[0]
    assert alarm.image_id == "00"
    assert alarm.area > 0.2
    bright = np.zeros((10, 12), np.float32)
    bright[2:9, 2:9] = 1
    forged[0] = replace(forged[0], audit_saturation=bright)
    assert max(alarm.area for alarm in train(BARE, forged).false_alarms) < 0.1


def test_samples_of_another_quality_and_other_predictors_are_refused() -> None:
    with pytest.raises(ValueError, match="JPEG quality 75 cannot train a model of quality None"):
        train(BARE, some(3, jpeg_quality=75))
    with pytest.raises(ValueError, match="JPEG quality None cannot train a model of quality 75"):
        train(BARE, some(3, jpeg_quality=75), some(1, "o"), jpeg_quality=75)
    for name in ("cnn", "oracle"):
        with pytest.raises(ValueError, match=f"'{name}' is no predictor on features"):
            train(BARE, some(3), predictor=name)


def test_too_few_windows_for_a_network_leave_the_size_out() -> None:
    samples = some(2, n=120)
    samples = [
        replace(
            s,
            features={64: s.features[64], 128: s.features[128][:30]},
            rho={64: s.rho[64], 128: s.rho[128][:30]},
        )
        for s in samples
    ]
    model = train(BARE, samples, predictor="ffn")
    assert kinds(model) == [(64, "ffn", None)]
    assert "too few for a network" in model.left_out["128"]


def test_others_help_and_are_not_counted() -> None:
    own = [made_up("a", n=120, sizes=(64,)), made_up("b", n=120, sizes=(64,))]
    lent = some(8, "o", gain=2.0, sizes=(64,))
    for predictor in ("lse", "ffn"):
        alone = train(BARE, own, predictor=predictor).window(64)
        helped = train(BARE, own, lent, predictor=predictor).window(64)
        assert helped.sigma1 < alone.sigma1
        assert (helped.blocks, helped.images) == (240, 2)


class TestSamples:
    def test_of_an_image_recompressed(self) -> None:
        model, rgb = fingerprint_model(1), photo(1, 0)
        sample = pristine_sample(model, used("a"), rgb, jpeg_quality=75)
        by_hand = pristine_sample(model, used("a"), recompress(rgb, 75))
        assert (sample.jpeg_quality, by_hand.jpeg_quality) == (75, None)
        np.testing.assert_array_equal(sample.rho[64], by_hand.rho[64])
        whole = pristine_sample(model, used("a"), rgb)
        assert whole.rho[128].mean() > sample.rho[128].mean() > 0

    def test_saturated_windows_are_left_out(self) -> None:
        model, rgb = fingerprint_model(1), photo(1, 0).copy()
        rgb[:, :256] = 255
        sample, whole = (pristine_sample(model, used("a"), p) for p in (rgb, photo(1, 0)))
        across, down = (WIDTH - 256) // 32 - 1, HEIGHT // 32 - 1
        # windows of 64 px every 32: those that are at least 70 % white are gone
        assert len(sample.rho[64]) == (across + 1) * down < len(whole.rho[64])
        assert len(sample.features[64]) == len(sample.rho[64])
        assert sample.audit_saturation.shape == sample.audit_rho.shape
        assert sample.audit_saturation[0, 0] == 1

    def test_a_white_image_teaches_nothing(self) -> None:
        model = fingerprint_model(1)
        white = pristine_sample(model, used("w"), np.full((HEIGHT, WIDTH, 3), 255, np.uint8))
        assert all(len(rho) == 0 for rho in white.rho.values())
        with pytest.raises(UserError, match="0 windows of 32 px in 0 photos"):
            train(model, [white])
        good = [pristine_sample(model, used(f"{i}"), photo(1, i)) for i in range(3)]
        trained = train(model, [white, *good])
        assert trained.window(64).images == 3
        assert len(trained.false_alarms) == 3
