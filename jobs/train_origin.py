"""Train a network that tells where images come from: photograph, rendering, generated, or more.

    python -m jobs.train_origin --manifest case/origin.parquet --output case/origin
    python -m jobs.train_origin --config configs/train_origin_cpu.yaml
    ray job submit --working-dir . -- python -m jobs.train_origin --config configs/train_origin.yaml

The manifest's ``label`` names the class of an image, such as npi, cgg, dgi or anything else, and
``source`` the collection it is from. Each class needs two sources: the network is tested on some
that it was not trained on. Images are levelled first (cropped to a common range of sizes,
compressed alike), as classes differ in size and format in every collection. Gives a file for
``--origin.weights`` of ``jobs.scan``. A job that was killed continues with the same command, after
the last epoch that ended. Exit code 0: the network is trained; 1: it is not, and the output says
why; 2: bad input.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import ray
from pydantic import Field

from forensics import manifest, storage
from forensics.config import Settings, digest
from forensics.origin.level import LevelSettings
from forensics.origin.network import NetworkSettings, Scenario
from forensics.origin.patches import PatchSettings
from forensics.records import ManifestRow, UserError
from forensics.train.origin.folds import deal
from forensics.train.origin.training import TrainingSettings
from jobs.cluster import Pool, PoolSettings, connected
from jobs.entry import INCOMPLETE, OK, run_job
from jobs.origin_training.images import (
    ImageSettings,
    classes_of,
    missing_in,
    prepare_images,
    source_of,
)
from jobs.origin_training.loop import train_loop
from jobs.origin_training.outcome import conclusion, keep
from jobs.tracking import Tracker, TrackingSettings, tracked
from jobs.training.course import Course
from jobs.training.follow import trained
from jobs.training.journal import Journal
from jobs.training.reported import Epoch
from jobs.training.run import Workers


class TrainOriginJob(Settings):
    """A network of the origin: from which images, how, into which folder."""

    manifest: str = Field(description="URI of the manifest; label names the class, source the set")
    output: str = Field(description="URI of the folder for the network and its card")
    natural: str = Field("npi", description="the label of photographs; the score is 1 − P of it")
    scenario: Scenario = Field(
        "ada", description="ada: all layers learn; vgg: the first two are VGG-19's, fixed"
    )
    vgg_weights: str | None = Field(
        None, description="vgg: URI of VGG-19's weights (torchvision's file, or safetensors)"
    )
    width: float = Field(1.0, gt=0, le=1, description="part of the paper's filters")
    patches: PatchSettings = PatchSettings()
    levelling: bool = Field(True, description="false: images as found; classes then show by format")
    level: LevelSettings = LevelSettings()
    folds: int = Field(5, ge=2, description="folds of sources; one is tested on")
    fold: int = Field(0, ge=0, description="the fold that is tested on, from 0")
    training: TrainingSettings = TrainingSettings()
    workers_per_training: int = Field(1, ge=1, description="workers that share each batch")
    retries: int = Field(2, ge=0, description="times that a worker which fails starts again")
    max_megapixels: float = Field(200.0, gt=0, description="pixels per image, before decoding")
    pool: PoolSettings = PoolSettings()
    tracking: TrackingSettings = TrackingSettings()


def train_origin(job: TrainOriginJob) -> int:
    """Train the network; returns the exit code."""
    if job.fold >= job.folds:
        raise UserError(f"fold {job.fold} of {job.folds} folds; it must be below")
    rows = sorted(manifest.read(job.manifest), key=lambda row: row.image_id)
    classes = classes_of(rows, job.natural)
    if job.natural not in classes:
        print(
            f"note: no image is labelled {job.natural!r}, as natural says photographs are; scans "
            f"will name the class and give no score (labels: {', '.join(classes)})"
        )
    vgg = _vgg(job)
    journal = Journal.open(job.output, _digest(job, rows, vgg))
    with (
        tracked("train_origin", job, job.tracking, job.output, journal.key) as tracker,
        connected(job.pool) as pool,
    ):
        return _train(job, rows, classes, vgg, pool, journal, tracker)


def _vgg(job: TrainOriginJob) -> bytes | None:
    if job.scenario == "ada":
        return None
    if job.vgg_weights is None:
        raise UserError(
            "the scenario vgg needs vgg_weights: the path of VGG-19's weights, such as "
            "torchvision's vgg19 file, which is not part of this project"
        )
    return storage.read(job.vgg_weights)


def _digest(job: TrainOriginJob, rows: Sequence[ManifestRow], vgg: bytes | None) -> str:
    """Of all that the network follows from: what was begun for another digest is not its own."""
    elsewhere = {"manifest", "vgg_weights", "pool", "tracking", "retries"}
    return digest(
        {
            "settings": job.model_dump(mode="json", exclude=elsewhere),
            "vgg": None if vgg is None else hashlib.sha256(vgg).hexdigest(),
            "images": [[r.image_id, r.uri, r.sha256, r.camera_id, r.source, r.label] for r in rows],
        }
    )


def _train(
    job: TrainOriginJob,
    rows: Sequence[ManifestRow],
    classes: tuple[str, ...],
    vgg: bytes | None,
    pool: Pool,
    journal: Journal,
    tracker: Tracker,
) -> int:
    workers = Workers.of(pool, job.workers_per_training)
    settings = ImageSettings(
        classes,
        job.patches,
        job.level if job.levelling else None,
        job.training.seed,
        job.max_megapixels,
    )
    prepared = prepare_images(rows, settings)
    prepared.say()
    sources = [source_of(row) for row in prepared.rows]
    labels = [str(row.label) for row in prepared.rows]
    folds = deal(labels, sources, job.folds, job.training.seed)
    tested = [row for row, f in zip(prepared.rows, folds, strict=True) if f == job.fold]
    if not tested:
        raise UserError(f"fold {job.fold} is empty: there are fewer sources than folds; set fewer")
    names = sorted({source_of(row) for row in tested})
    missing = missing_in(tested, classes)
    print(f"{len(prepared.rows)} images; tested on {len(tested)} of {', '.join(names)}")
    if missing:
        print(f"note: the fold that is tested on has no image of {', '.join(missing)}")
    shape = NetworkSettings(
        classes=classes,
        natural=job.natural if job.natural in classes else None,
        scenario=job.scenario,
        side=job.patches.side,
        width=job.width,
        jpeg_qualities=job.level.jpeg_qualities if job.levelling else None,
    )
    as_scanned = replace(settings, level=None, jpeg_quality=shape.jpeg_quality)
    as_found = prepare_images(tested, as_scanned) if job.levelling else None
    name = f"origin-{job.scenario}"
    testing = prepared.of(folds, job.fold, tested=True)
    config = {
        "training": prepared.of(folds, job.fold, tested=False),
        "testing": testing,
        "as_found": list(as_found.images) if as_found else testing,
        "network": shape.model_dump_json(),
        "settings": job.training.model_dump_json(),
        "vgg": None if vgg is None else ray.put(vgg),
        "vgg_uri": job.vgg_weights,
    }
    course = Course(tracker, name, job.training.epochs, describe)
    outcome = trained(
        train_loop, config, course, journal=journal, workers=workers, retries=job.retries
    )
    if outcome is None:
        return INCOMPLETE
    about: dict[str, Any] = {
        "images": dict(Counter(labels)),
        "sources": dict(Counter(sources)),
        "tested_on": names,
        "not_tested_on": missing,
        "level": job.level.model_dump(mode="json") if job.levelling else None,
        "earlier_may_show": len(prepared.showing),
    }
    card = keep(tracker, job.output, name, shape, outcome, about)
    journal.close()
    where = storage.join(job.output, name)
    print(f"{conclusion(card, shape)} -> {where}.safetensors, {card['registered']}")
    return OK


def describe(epoch: Epoch) -> str:
    """An epoch for people."""
    return (
        f"loss {epoch['loss']:.4f}, patches right {epoch['accuracy']:.3f}, of other sources "
        f"{epoch['held_out_accuracy']:.3f}"
    )


if __name__ == "__main__":
    run_job(train_origin, TrainOriginJob, __doc__)
