"""Train what a camera's correlations depend on: the network of the paper, or its baselines.

    python -m jobs.train_predictor --manifest training.parquet --models models
    python -m jobs.train_predictor --manifest training.parquet --models models --predictor ffn
    python -m jobs.train_predictor --config configs/train_predictor.yaml --jpeg_qualities 95,85,75
    ray job submit --working-dir . -- \\
        python -m jobs.train_predictor --config configs/train_predictor.yaml

Needs the fingerprints of ``jobs.fingerprint``, and natural photos that are not part of them. A job
that was killed continues with the same command, after the last epoch that ended. Exit code 0: every
camera has its predictors; 1: one is missing, and the output says why; 2: bad input.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self

import ray
from pydantic import Field, model_validator

from forensics import storage
from forensics.config import Settings, digest
from forensics.prnu.camera_model import CARD, read_card
from forensics.prnu.library import CameraLibrary
from forensics.prnu.predictors.network import CNNSettings
from forensics.records import UserError
from forensics.train.predictor.regression import TrainingSettings
from jobs.cluster import Pool, PoolSettings, connected
from jobs.entry import INCOMPLETE, OK, run_job
from jobs.fingerprint import by_camera
from jobs.predictor_training.features import train_features
from jobs.predictor_training.network import NetworkOptions, NotTrained, train_network
from jobs.predictor_training.plan import Training, label, of_cameras, plan
from jobs.predictor_training.plots import comparison
from jobs.predictor_training.report import describe, failure, report, say
from jobs.predictor_training.tasks import BlockSettings, store_window
from jobs.tracking import Tracker, TrackingSettings, tracked
from jobs.training.course import Course
from jobs.training.follow import CONTINUES
from jobs.training.journal import Journal
from jobs.training.run import Workers

Quality = Annotated[int, Field(ge=1, le=100)]


class TrainPredictorJob(Settings):
    """Correlation predictors: of which kind, from which photos, in which folder."""

    manifest: str = Field(description="URI of the manifest of pristine photos, with camera_id")
    models: str = Field(description="URI of the folder of camera models")
    cameras: tuple[str, ...] | None = Field(None, description="camera ids [all of the manifest]")
    predictor: Literal["lse", "ffn", "cnn"] = Field(
        "cnn", description="cnn for one window size; lse and ffn (on features) for all sizes"
    )
    window: int = Field(128, ge=1, description="side of the cnn's blocks, pixels")
    jpeg_qualities: tuple[Quality, ...] = Field(
        (), description="one predictor for each; photos are compressed so first [as they are]"
    )
    mixed: bool = Field(False, description="one cnn from blocks of all jpeg_qualities instead")
    images_per_camera: int = Field(50, ge=1, description="photos, evenly spread over the camera's")
    blocks_per_image: int = Field(1000, ge=1, description="cnn: blocks from each photo")
    image_gain: bool = Field(
        True, description="fit, and judge, each photo at the strength it shows the fingerprint with"
    )
    network: CNNSettings = CNNSettings()
    training: TrainingSettings = TrainingSettings()
    workers_per_training: int = Field(1, ge=1, description="cnn: workers that share each batch")
    retries: int = Field(2, ge=0, description="cnn: times that a worker which fails starts again")
    max_megapixels: float = Field(200.0, gt=0, description="pixels per image, before decoding")
    pool: PoolSettings = PoolSettings()
    tracking: TrackingSettings = TrackingSettings()

    @model_validator(mode="after")
    def _mixture(self) -> Self:
        if self.mixed and (self.predictor != "cnn" or len(set(self.jpeg_qualities)) < 2):
            raise ValueError("mixed needs the cnn, and two jpeg_qualities at least")
        return self


def train_predictor(job: TrainPredictorJob) -> int:
    """Train the predictors; returns the exit code."""
    if job.predictor == "cnn":
        job.network.last_map(job.window)  # a window that does not fit is refused here
    cameras = of_cameras(by_camera(job.manifest), job.cameras)
    library = CameraLibrary(job.models)
    if unknown := [camera_id for camera_id in cameras if camera_id not in library]:
        raise UserError(
            f"{job.models} has no fingerprint of {', '.join(unknown)}; run jobs.fingerprint for "
            "them first, or leave them out with cameras"
        )
    trainings = plan(
        cameras,
        job.predictor,
        job.window if job.predictor == "cnn" else None,
        job.jpeg_qualities,
        job.mixed,
        job.images_per_camera,
    )
    journal = Journal.open(job.models, _digest(job, library, trainings))
    with (
        tracked("train_predictor", job, job.tracking, job.models, journal.key) as tracker,
        connected(job.pool) as pool,
    ):
        results = [_train(job, training, pool, journal, tracker) for training in trainings]
        windows = [entry for result in results for entry in result["windows"]]
        tracker.text(json.dumps(results, indent=1), "predictors.json")
        tracker.figure(comparison(windows), "adjusted_r2.png")
    if not any(result.get("failed") for result in results):
        journal.close()
    return OK if all(result["windows"] for result in results) else INCOMPLETE


def _digest(job: TrainPredictorJob, library: CameraLibrary, trainings: Sequence[Training]) -> str:
    """Of all that the predictors follow from: what was begun for another digest is not theirs."""
    cards = {
        camera_id: read_card(storage.read(storage.join(library.entry(camera_id).folder, CARD)))
        for camera_id in {training.camera_id for training in trainings}
    }
    elsewhere = {"manifest", "cameras", "pool", "tracking", "retries"}
    return digest(
        {
            "settings": job.model_dump(mode="json", exclude=elsewhere),
            "images": [
                [training.name, row.image_id, row.uri, row.sha256]
                for training in trainings
                for row in training.rows
            ],
            "fingerprints": {
                camera_id: card["files"]["fingerprint"]["sha256"]
                for camera_id, card in cards.items()
            },
        }
    )


def _train(
    job: TrainPredictorJob, training: Training, pool: Pool, journal: Journal, tracker: Tracker
) -> dict[str, Any]:
    """One training from its start, from where it was killed, or only what became of it."""
    result = journal.result(training.name)
    if result is not None and _still_there(job.models, training, result):
        print(f"{training.name}: trained before this job was interrupted")
        return result
    try:
        if training.predictor == "cnn":
            result = _train_cnn(job, training, pool, journal, tracker)
        else:
            result = _train_on_features(job, training, tracker)
        journal.end(training.name, result)
    except NotTrained as error:
        result = failure(training, error.skipped, str(error))
    except RuntimeError as error:  # a worker failed time and again; its checkpoints stay
        reason = f"{error}. {CONTINUES}"
        result = {**failure(training, (), reason), "failed": True}
    say(result)
    return result


def _still_there(models: str, training: Training, result: Mapping[str, Any]) -> bool:
    """Whether the camera model holds what the result says."""
    held = CameraLibrary(models).model(training.camera_id).windows
    have = {(label(training.camera_id, window), window.sigma1) for window in held}
    return all((entry["name"], entry["sigma1"]) in have for entry in result["windows"])


def _train_cnn(
    job: TrainPredictorJob, training: Training, pool: Pool, journal: Journal, tracker: Tracker
) -> dict[str, Any]:
    workers = Workers.of(pool, job.workers_per_training)
    options = NetworkOptions(
        models=job.models,
        blocks=BlockSettings(
            job.window, job.blocks_per_image, job.training.seed, job.max_megapixels
        ),
        network=job.network,
        training=job.training,
        image_gain=job.image_gain,
        workers=workers,
        retries=job.retries,
        folder=journal.folder,
    )
    course = Course(tracker, training.name, job.training.epochs, describe)
    trained = train_network(training, options, course)
    ray.get(store_window.remote(job.models, training.camera_id, trained.window, trained.images))
    points = trained.window.window, trained.rho, trained.rho_hat
    return report(tracker, training, [trained.window], trained.skipped, points)


def _train_on_features(
    job: TrainPredictorJob, training: Training, tracker: Tracker
) -> dict[str, Any]:
    trained = train_features(training, job.models, job.max_megapixels, job.image_gain)
    windows = [
        window
        for window in CameraLibrary(job.models).model(training.camera_id).windows
        if (window.predictor.name, window.jpeg_quality)
        == (training.predictor, training.jpeg_quality)
    ]
    points = trained.window, trained.rho, trained.rho_hat
    return report(tracker, training, windows, trained.skipped, points)


if __name__ == "__main__":
    run_job(train_predictor, TrainPredictorJob, __doc__)
