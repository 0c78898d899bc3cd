"""Train TruFor, phase by phase: Noiseprint++, localization, confidence and detection.

    python -m jobs.train_trufor --phase 1 --manifest case/pristine.parquet --output case/trufor
    python -m jobs.train_trufor --config configs/train_trufor_2.yaml
    ray job submit --working-dir . -- \\
        python -m jobs.train_trufor --config configs/train_trufor_3.yaml

Phase 1 needs pristine photos with camera_id (models will do), four of one camera at least. Phases 2
and 3 need forged images with masks and pristine ones, as ``jobs.make_forgeries`` makes them; each
``source`` counts as a data set, and each gives as many images to an epoch. Images with the split
"validation" are not trained on; where there are none, a part of each data set is left out, image by
image, so name splits where several images come from one photo. A job that was killed continues with
the same command, after the last epoch that ended. Exit code 0: the network is trained; 1: it is
not, and the output says why; 2: bad input.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal

import ray
from pydantic import Field

from forensics import manifest, storage
from forensics.config import Settings, digest
from forensics.records import ManifestRow, UserError
from forensics.train.trufor.settings import ContrastiveSettings, SupervisedSettings
from forensics.trufor.model import TruForSettings
from jobs.cameras import say_skipped
from jobs.cluster import Pool, PoolSettings, connected
from jobs.entry import INCOMPLETE, OK, run_job
from jobs.tracking import Tracker, TrackingSettings, store_uri, tracked
from jobs.training.course import Course
from jobs.training.follow import trained
from jobs.training.journal import Journal
from jobs.training.reported import Epoch
from jobs.training.run import Workers
from jobs.trufor_training.data import Usable, usable_images, usable_photos
from jobs.trufor_training.loop import train_loop
from jobs.trufor_training.outcome import NAMES, keep
from jobs.trufor_training.start import StartSettings, starting_weights
from jobs.weights import resolved


class TrainTruForJob(Settings):
    """One phase of TruFor's training: from which images and weights, into which folder."""

    phase: Literal[1, 2, 3] = Field(
        description="1: Noiseprint++; 2: localization; 3: confidence and detection"
    )
    manifest: str = Field(description="URI of the manifest of the images")
    output: str = Field(description="URI of the folder for the weights and their card")
    start: StartSettings = StartSettings()
    network: TruForSettings = TruForSettings()
    contrastive: ContrastiveSettings = ContrastiveSettings()
    training: SupervisedSettings = SupervisedSettings()
    samples: int = Field(8, ge=1, description="images of the contact sheet")
    workers_per_training: int = Field(1, ge=1, description="workers that share each batch")
    retries: int = Field(2, ge=0, description="times that a worker which fails starts again")
    max_megapixels: float = Field(200.0, gt=0, description="pixels per image, before decoding")
    pool: PoolSettings = PoolSettings()
    tracking: TrackingSettings = TrackingSettings()

    @property
    def settings(self) -> ContrastiveSettings | SupervisedSettings:
        """How this phase goes."""
        return self.contrastive if self.phase == 1 else self.training


def train_trufor(job: TrainTruForJob) -> int:
    """Train the network; returns the exit code."""
    rows = sorted(manifest.read(job.manifest), key=lambda row: row.image_id)
    _check_names(job, rows)
    with tempfile.TemporaryDirectory() as folder:
        start = resolved(job.start, store_uri(job.tracking, job.output), folder)
        weights = starting_weights(job.phase, start, job.network, job.settings.seed)
    journal = Journal.open(job.output, _digest(job, rows, weights))
    with (
        tracked("train_trufor", job, job.tracking, job.output, journal.key) as tracker,
        connected(job.pool) as pool,
    ):
        return _train(job, rows, weights, pool, journal, tracker)


def _check_names(job: TrainTruForJob, rows: Sequence[ManifestRow]) -> None:
    """Raises `UserError` where two images share a name: one would be taken for the other."""
    counts = Counter(row.image_id for row in rows)
    if twice := [name for name, count in counts.items() if count > 1]:
        raise UserError(
            f"{job.manifest}: {len(twice)} image_ids stand for several images (first: {twice[0]}); "
            "give each image its own"
        )


def say_split(job: TrainTruForJob, rows: Sequence[ManifestRow]) -> None:
    """Warns where the manifest leaves it to chance which images are not trained on."""
    if job.phase > 1 and not any(row.split == "validation" for row in rows):
        print(
            f"{job.manifest}: no image has the split validation; of each data set a part is kept, "
            "image by image: where several come from one photo, name splits"
        )


def _digest(job: TrainTruForJob, rows: Sequence[ManifestRow], weights: bytes) -> str:
    """Of all that the network follows from: what was begun for another digest is not its own."""
    elsewhere = {"manifest", "start", "samples", "pool", "tracking", "retries"}
    return digest(
        {
            "settings": job.model_dump(mode="json", exclude=elsewhere),
            "start": hashlib.sha256(weights).hexdigest(),
            "images": [[row.image_id, row.uri, row.sha256, row.mask_uri] for row in rows],
        }
    )


def _train(
    job: TrainTruForJob,
    rows: Sequence[ManifestRow],
    weights: bytes,
    pool: Pool,
    journal: Journal,
    tracker: Tracker,
) -> int:
    name = NAMES[job.phase]
    workers = Workers.of(pool, job.workers_per_training)
    usable = _usable(job, rows)
    say_skipped(usable.skipped)
    say_split(job, rows)
    config = {
        "phase": job.phase,
        "start": ray.put(weights),
        "items": usable.items,
        "max_megapixels": job.max_megapixels,
        "settings": job.settings.model_dump_json(),
        "samples": job.samples,
    }
    course = Course(tracker, name, job.settings.epochs, describe)
    outcome = trained(
        train_loop, config, course, journal=journal, workers=workers, retries=job.retries
    )
    if outcome is None:
        return INCOMPLETE
    about: dict[str, Any] = {
        "images": len(usable.items),
        "sources": usable.sources,
        "start": job.start.model_dump(mode="json", exclude_none=True),
    }
    card = keep(tracker, job.output, job.phase, outcome, about)
    journal.close()
    uri = storage.join(job.output, f"{name}.safetensors")
    print(f"best epoch {outcome['best']}: {describe(card['best'])} -> {uri}, {card['registered']}")
    return OK


def _usable(job: TrainTruForJob, rows: Sequence[ManifestRow]) -> Usable:
    if job.phase == 1:
        return usable_photos(rows, job.contrastive, job.max_megapixels)
    return usable_images(rows, job.max_megapixels)


def describe(epoch: Epoch) -> str:
    """An epoch for people."""
    validation = {
        key.removeprefix("validation."): value
        for key, value in epoch.items()
        if key.startswith("validation.")
    }
    measures = ", ".join(f"{key} {value:.3f}" for key, value in validation.items())
    return f"loss {epoch['loss']:.3f}, validation: {measures}"


if __name__ == "__main__":
    run_job(train_trufor, TrainTruForJob, __doc__)
