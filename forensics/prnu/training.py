"""From pristine images of a camera to its predictors and spreads.

Two steps, so that a cluster can do the first one for many images at once: `pristine_sample` reduces
an image to window statistics, `train` fits a camera model to the samples. The order of the samples
does not matter.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import torch

from forensics.evaluate.metrics import adjusted_r2
from forensics.localize.threshold import score, stm
from forensics.prnu.camera_model import CameraModel, FalseAlarm, WindowModel
from forensics.prnu.features import DESIGN_TERMS
from forensics.prnu.hypothesis import fit_sigma0, tampering_probability
from forensics.prnu.predictors import LSEPredictor
from forensics.prnu.regression import Triangle, fit, image_gain
from forensics.prnu.sampling import (
    AUDIT_WINDOW,
    CELL,
    WINDOWS,
    Floats,
    PristineSample,
    pristine_sample,
)
from forensics.records import UserError

__all__ = ["WINDOWS", "PristineSample", "pristine_sample", "train"]

WORST = 15  # false alarms kept in the card
MIN_BLOCKS = 2 * DESIGN_TERMS


def train(
    model: CameraModel,
    samples: Iterable[PristineSample],
    others: Iterable[PristineSample] = (),
) -> CameraModel:
    """The camera model with predictors, spreads and audit fitted to the samples.

    ``others`` are samples of other cameras (made with their own fingerprints). They help where the
    camera's own photos are few, see `regression.fit`.

    Samples that are equal, or whose image is part of the fingerprint (its noise is in it, so the
    correlations are too high), are left out and named in `CameraModel.left_out`. Raises `UserError`
    where nothing is left to train on.
    """
    used, left_out = _usable(model, samples)
    others = sorted(others, key=lambda s: (s.image.image_id, s.image.sha256))
    windows: list[WindowModel] = []
    for size in WINDOWS:
        try:
            windows.append(_window_model(size, used, others))
        except UserError as error:
            left_out[str(size)] = str(error)
    if not windows:
        raise UserError(
            f"camera {model.camera_id}: no predictor could be trained; "
            + "; ".join(f"{name}: {why}" for name, why in sorted(left_out.items()))
        )
    return replace(
        model,
        windows=tuple(windows),
        training=tuple(sample.image for sample in used),
        left_out=left_out,
        false_alarms=_audit(windows, used, others),
    )


def _usable(
    model: CameraModel, samples: Iterable[PristineSample]
) -> tuple[list[PristineSample], dict[str, str]]:
    reference = {image.sha256 for image in model.reference}
    used: dict[str, PristineSample] = {}
    left_out: dict[str, str] = {}
    for sample in sorted(samples, key=lambda s: (s.image.image_id, s.image.sha256)):
        image = sample.image
        if image.sha256 in reference:
            left_out[image.image_id] = "its noise is part of the fingerprint"
        elif image.sha256 in used:
            left_out[image.image_id] = f"same file as {used[image.sha256].image.image_id}"
        else:
            used[image.sha256] = sample
    return list(used.values()), left_out


def _window_model(
    size: int, samples: Sequence[PristineSample], others: Sequence[PristineSample]
) -> WindowModel:
    """Predictor and spreads; sigma1 is the error on images that the predictor has not seen."""
    samples = [s for s in samples if len(s.rho.get(size, ())) > 0]
    blocks = sum(len(s.rho[size]) for s in samples)
    if blocks < MIN_BLOCKS:
        raise UserError(
            f"{blocks} windows of {size} px in {len(samples)} photos are too few for a predictor, "
            f"{MIN_BLOCKS} are needed: give more or larger pristine photos"
        )
    predictors = _Predictors(size, samples, others)
    rho = [s.rho[size] for s in samples]
    seen = [_scaled(predictors.all(), s.features[size], s.rho[size]) for s in samples]
    unseen = [
        _scaled(predictors.without(i), s.features[size], s.rho[size]) for i, s in enumerate(samples)
    ]
    errors = np.concatenate(rho) - np.concatenate(unseen)
    return WindowModel(
        window=size,
        predictor=predictors.all(),
        sigma0=fit_sigma0(np.concatenate([s.rho_absent[size] for s in samples])),
        sigma1=float(np.sqrt(np.mean(np.square(errors, dtype=np.float64)))),
        adjusted_r2=adjusted_r2(np.concatenate(rho), np.concatenate(seen), DESIGN_TERMS - 1),
        blocks=blocks,
        images=len(samples),
    )


class _Predictors:
    """Predictors for one window size: from all images, and from all but one."""

    def __init__(
        self, size: int, samples: Sequence[PristineSample], others: Sequence[PristineSample]
    ) -> None:
        self._size = size
        self._own = [Triangle.of(s.features[size], s.rho[size]) for s in samples]
        self._others = [
            Triangle.of(s.features[size], s.rho[size])
            for s in others
            if len(s.rho.get(size, ())) > 0
        ]
        self._features = np.concatenate([s.features[size] for s in samples])

    def all(self) -> LSEPredictor:
        return self._fit(self._own)

    def without(self, index: int) -> LSEPredictor:
        """All there is, where there is only one image."""
        return self._fit(self._own[:index] + self._own[index + 1 :] or self._own)

    def _fit(self, own: Sequence[Triangle]) -> LSEPredictor:
        theta = torch.from_numpy(fit(own, self._others))
        return LSEPredictor().take(theta, self._features, self._size)


def _scaled(predictor: LSEPredictor, features: Floats, rho: Floats) -> Floats:
    """Predictions at the gain of the image, as the detector makes them."""
    rho_hat = predictor.predict_features(features).clip(min=0)
    return rho_hat * np.float32(image_gain(rho, rho_hat))


def _audit(
    windows: Sequence[WindowModel],
    samples: Sequence[PristineSample],
    others: Sequence[PristineSample],
) -> tuple[FalseAlarm, ...]:
    """What each image raises with a predictor that has not seen it; the worst ones first."""
    size = min(AUDIT_WINDOW, windows[-1].window)
    model = next(window for window in windows if window.window == size)
    if len(samples) < 2:
        return ()
    predictors = _Predictors(size, samples, others)
    alarms = []
    for i, sample in enumerate(samples):
        rho_hat = _scaled(predictors.without(i), sample.audit_features, sample.audit_rho)
        probability = tampering_probability(sample.audit_rho, rho_hat, model.sigma0, model.sigma1)
        area = float(stm(probability, CELL).mean())
        alarms.append(FalseAlarm(sample.image.image_id, area, score(probability, CELL)))
    alarms.sort(key=lambda alarm: (-alarm.area, -alarm.score, alarm.image_id))
    return tuple(alarms[:WORST])
