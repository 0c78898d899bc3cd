"""One kind of predictor on features of one camera, for windows of all sizes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ray

from forensics.prnu.library import CameraLibrary
from forensics.prnu.sampling import AUDIT_WINDOW, Floats
from jobs.cameras import Skipped, sample, write_trained
from jobs.predictor_training.network import NotTrained
from jobs.predictor_training.plan import Training
from jobs.predictor_training.tasks import unseen_points
from jobs.waiting import wait_for


@dataclass(frozen=True)
class TrainedFeatures:
    """Predictors of all sizes, stored already; the points are of the window nearest 128 px."""

    windows: list[dict[str, Any]]
    images: int
    skipped: tuple[Skipped, ...]
    window: int
    rho: Floats
    rho_hat: Floats


def train_features(
    training: Training, models: str, max_megapixels: float, image_gain: bool
) -> TrainedFeatures:
    """Sample the photos, train, and store. Raises `NotTrained` where they do not suffice."""
    version, quality = CameraLibrary(models).digest, training.jpeg_quality
    samples = [
        sample.remote(models, version, row, max_megapixels, quality) for row in training.rows
    ]
    wait_for(samples, "photos sampled")
    result = ray.get(
        write_trained.remote(
            models,
            training.camera_id,
            len(samples),
            *samples,
            predictor=training.predictor,
            jpeg_quality=quality,
            image_gain=image_gain,
        )
    )
    left_out = {row.image_id for row in training.rows} & set(result.get("left_out", ()))
    skipped = (
        *result["skipped"],
        *(Skipped(name, result["left_out"][name]) for name in sorted(left_out)),
    )
    if "error" in result:
        raise NotTrained(result["error"], skipped)
    window = min((w["window"] for w in result["windows"]), key=lambda w: abs(w - AUDIT_WINDOW))
    rho, rho_hat = ray.get(
        unseen_points.remote(
            models, training.camera_id, window, training.predictor, image_gain, *samples
        )
    )
    return TrainedFeatures(result["windows"], result["images"], skipped, window, rho, rho_hat)
