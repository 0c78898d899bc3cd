"""Train networks that tell manipulations of photos apart.

    python -m jobs.train_manipulation --manifest case/pristine.parquet --output case/manipulation
    python -m jobs.train_manipulation --config configs/train_manipulation.yaml \\
        --tasks blur-0.5,jpeg-90
    ray job submit --working-dir . -- \\
        python -m jobs.train_manipulation --config configs/train_manipulation.yaml

Needs pristine photos of two devices at least: camera_id names the device, or else source does;
photos with neither count as one device. Networks are tested on devices that they were not trained
on. Each task gives a file for ``--manipulation.weights`` of ``jobs.scan``. A job that was killed
continues with the same command, after the last epoch that ended. Exit code 0: every network is
trained; 1: one is not, and the output says why; 2: bad input.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import Field, ValidationInfo, field_validator

from forensics import manifest, storage
from forensics.config import Settings, digest
from forensics.manipulation.base import NetworkSettings
from forensics.manipulation.operations import CLASSES, PRISTINE, Manipulation, parse
from forensics.records import ManifestRow
from forensics.train.manipulation.patches import split_devices
from forensics.train.manipulation.training import TrainingSettings
from jobs.cameras import say_skipped
from jobs.cluster import PoolSettings, connected
from jobs.entry import INCOMPLETE, OK, run_job
from jobs.manipulation_training.loop import train_loop
from jobs.manipulation_training.outcome import keep
from jobs.manipulation_training.patches import CutPhotos, PatchSettings, cut_photos
from jobs.tracking import Tracker, TrackingSettings, tracked
from jobs.training.course import Course
from jobs.training.follow import trained
from jobs.training.journal import Journal
from jobs.training.reported import Epoch
from jobs.training.run import Workers

ALL = "all"


class TrainManipulationJob(Settings):
    """Manipulation networks: for which tasks, from which photos, into which folder."""

    manifest: str = Field(description="URI of the manifest of pristine photos")
    output: str = Field(description="URI of the folder for the networks and their cards")
    tasks: tuple[str, ...] = Field(
        (ALL,),
        min_length=1,
        description="all: one network for pristine and every manipulation; a label such as "
        "blur-0.5: one for pristine or that",
    )
    manipulations: tuple[str, ...] = Field(
        CLASSES[1:], min_length=1, description="manipulations that the task all tells apart"
    )
    window: int = Field(128, ge=7, description="side of a patch, pixels")
    patches_per_photo: int | None = Field(
        9, ge=1, description="places in each photo, drawn at random; null: all side by side"
    )
    patches: int | None = Field(
        None, ge=1, description="places to train on in all, drawn at random [all]"
    )
    held_out: float = Field(
        1 / 3, gt=0, lt=1, description="part of the devices to test on, drawn by training.seed"
    )
    training: TrainingSettings = TrainingSettings()
    workers_per_training: int = Field(1, ge=1, description="workers that share each batch")
    retries: int = Field(2, ge=0, description="times that a worker which fails starts again")
    max_megapixels: float = Field(200.0, gt=0, description="pixels per image, before decoding")
    pool: PoolSettings = PoolSettings()
    tracking: TrackingSettings = TrackingSettings()

    @field_validator("tasks", "manipulations")
    @classmethod
    def _labels(cls, values: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        """As `Manipulation.label` writes them, each once."""
        known = (ALL,) if info.field_name == "tasks" else ()
        return tuple(dict.fromkeys(v if v in known else parse(v).label for v in values))

    def needed(self) -> tuple[Manipulation, ...]:
        """Every manipulation that a task needs, those of the task all first."""
        labels = [*(self.manipulations if ALL in self.tasks else ()), *self.tasks]
        return tuple(parse(label) for label in dict.fromkeys(labels) if label != ALL)


def train_manipulation(job: TrainManipulationJob) -> int:
    """Train the networks; returns the exit code."""
    needed = job.needed()
    rows = sorted(manifest.read(job.manifest), key=lambda row: row.image_id)
    journal = Journal.open(job.output, _digest(job, rows))
    with (
        tracked("train_manipulation", job, job.tracking, job.output, journal.key) as tracker,
        connected(job.pool) as pool,
    ):
        photos = _cut(job, rows, needed)
        tested = split_devices(photos.devices, job.held_out, job.training.seed)
        print(f"{len(photos.photos)} photos; tested on devices {', '.join(sorted(tested))}")
        workers = Workers.of(pool, job.workers_per_training)
        done = [
            _train(job, task, needed, photos, tested, workers, journal, tracker)
            for task in job.tasks
        ]
    if not all(done):
        return INCOMPLETE
    journal.close()
    return OK


def _digest(job: TrainManipulationJob, rows: Sequence[ManifestRow]) -> str:
    """Of all that the networks follow from: what was begun for another digest is not theirs."""
    elsewhere = {"manifest", "pool", "tracking", "retries"}
    return digest(
        {
            "settings": job.model_dump(mode="json", exclude=elsewhere),
            "images": [[r.image_id, r.uri, r.sha256, r.camera_id, r.source] for r in rows],
        }
    )


def _cut(
    job: TrainManipulationJob, rows: Sequence[ManifestRow], needed: tuple[Manipulation, ...]
) -> CutPhotos:
    settings = PatchSettings(
        needed, job.window, job.patches_per_photo, job.training.seed, job.max_megapixels
    )
    photos = cut_photos(rows, settings)
    say_skipped(photos.skipped)
    return photos


def _train(
    job: TrainManipulationJob,
    task: str,
    needed: tuple[Manipulation, ...],
    photos: CutPhotos,
    tested: frozenset[str],
    workers: Workers,
    journal: Journal,
    tracker: Tracker,
) -> bool:
    """One network from its start, or from where it was killed; whether there is one."""
    told = job.manipulations if task == ALL else (task,)
    network = NetworkSettings(classes=(PRISTINE, *told), window=job.window)
    name = f"residual-{len(network.classes) if task == ALL else task}"
    if journal.result(name) is not None:
        print(f"{name}: trained before this job was interrupted")
        return True
    config = {
        "training": photos.of([d for d in photos.devices if d not in tested]),
        "testing": photos.of(tested),
        "labels": [0, *(1 + needed.index(parse(label)) for label in told)],
        "patches": job.patches,
        "network": network.model_dump_json(),
        "settings": job.training.model_dump_json(),
    }
    course = Course(tracker, name, job.training.epochs, describe)
    outcome = trained(
        train_loop, config, course, journal=journal, workers=workers, retries=job.retries
    )
    if outcome is None:
        return False
    about: dict[str, Any] = {"devices": list(photos.devices), "tested_on": sorted(tested)}
    card = keep(tracker, job.output, name, network, outcome, about)
    journal.end(name, card)
    uri = storage.join(job.output, f"{name}.safetensors")
    print(
        f"{name}: {card['accuracy']:.1%} of {card['test_patches']} patches of other devices right "
        f"-> {uri}, {card['registered']}"
    )
    return True


def describe(epoch: Epoch) -> str:
    """An epoch for people."""
    return f"loss {epoch['train_loss']:.4f}"


if __name__ == "__main__":
    run_job(train_manipulation, TrainManipulationJob, __doc__)
