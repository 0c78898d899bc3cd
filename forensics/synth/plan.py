"""Which images a simulated archive holds: cameras, photo numbers, forgeries, names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import get_args

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from forensics.synth.camera import SimulatedCamera
from forensics.synth.forgeries import USUAL_AREA, Kind

_KINDS: tuple[Kind, ...] = get_args(Kind)
_STRANGER_SHARE = 0.1
_PLAN, _VARIETY = 11, 13
_SMALLEST, _LARGEST = 0.004, 0.15  # forged fractions of an image, where sizes are diverse
ARCHIVE_START, TRAINING_START = 100_000, 50_000  # photo numbers of a camera


class ArchiveSettings(BaseModel):
    """What the archive holds. The same settings give the same bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cameras: int = Field(3, ge=1, lt=1000)
    width: int = Field(1280, ge=16)  # pixels
    height: int = Field(960, ge=16)  # pixels
    reference_images: int = Field(12, ge=1)  # per camera
    training_images: int = Field(10, ge=0)  # per camera
    archive_images: int = Field(60, ge=0)  # one in ten by an unknown camera; odd files come on top
    forged_fraction: float = Field(0.5, ge=0, le=1)  # of the archive images by known cameras
    quality: int = Field(95, ge=1, le=100)  # JPEG
    diverse: bool = False  # every second camera a phone, each with its own noise; forged sizes vary
    seed: int = Field(0, ge=0)


@dataclass(frozen=True, slots=True)
class Job:
    """One image to write: photo ``number`` of a camera, flat, natural or forged."""

    uri: str
    split: str
    camera: int
    number: int
    flat: bool = False
    kind: Kind | None = None
    donor: int | None = None  # the camera that a splice takes its pixels from

    @property
    def image_id(self) -> str:
        """The path below the collection's folder, as a listing of that folder names it."""
        return self.uri.partition("/")[2]


@lru_cache(maxsize=16)
def camera_of(settings: ArchiveSettings, index: int) -> SimulatedCamera:
    """Camera ``index`` of the archive; the one after the last is the stranger."""
    if settings.diverse:
        return _diverse_camera(settings, index)
    return SimulatedCamera(
        seed=1000 * settings.seed + index,
        height=settings.height,
        width=settings.width,
        quality=settings.quality,
    )


def _diverse_camera(settings: ArchiveSettings, index: int) -> SimulatedCamera:
    """Even indices are large sensors with plain processing, odd ones phones."""
    rng = np.random.default_rng([settings.seed, _VARIETY, index])
    common = SimulatedCamera(
        seed=1000 * settings.seed + index,
        height=settings.height,
        width=settings.width,
        read_noise=rng.uniform(2e-3, 4e-3),
        iso_stops=2.0,
    )
    if index % 2 == 0:
        return replace(
            common,
            prnu_strength=rng.uniform(0.009, 0.014),
            gain=rng.uniform(2e-4, 5e-4),
            quality=settings.quality,
        )
    return replace(
        common,
        prnu_strength=rng.uniform(0.016, 0.022),
        gain=rng.uniform(6e-4, 1e-3),
        noise_reduction=rng.uniform(0.5, 0.85),
        sharpening=rng.uniform(0.3, 0.9),
        quality=max(1, settings.quality - int(rng.integers(2, 8))),
        model="P100",
    )


def forged_area(settings: ArchiveSettings, job: Job) -> tuple[float, float]:
    """The range to draw the job's forged fraction of the image from.

    Diverse sizes are log-uniform: small forgeries are as common as large ones.
    """
    if not settings.diverse:
        return USUAL_AREA
    rng = np.random.default_rng([settings.seed, _VARIETY, job.camera, job.number])
    area = float(np.exp(rng.uniform(np.log(_SMALLEST), np.log(_LARGEST))))
    return area, area


def plan(settings: ArchiveSettings) -> list[Job]:
    """All images of the archive, references first; odd files are not among them."""
    return [*_reference_jobs(settings), *_training_jobs(settings), *_archive_jobs(settings)]


def _reference_jobs(settings: ArchiveSettings) -> Iterator[Job]:
    for camera in range(settings.cameras):
        name = camera_of(settings, camera).camera_id
        for i in range(settings.reference_images):
            uri = f"reference/{name}/flat_{i:03d}.jpg"
            yield Job(uri, "reference", camera, i, flat=True)


def _training_jobs(settings: ArchiveSettings) -> Iterator[Job]:
    for camera in range(settings.cameras):
        name = camera_of(settings, camera).camera_id
        for i in range(settings.training_images):
            uri = f"training/{name}/natural_{i:03d}.jpg"
            yield Job(uri, "training", camera, TRAINING_START + i)


def _archive_jobs(settings: ArchiveSettings) -> Iterator[Job]:
    """The photos to scan, in an order that tells nothing about them."""
    rng = np.random.default_rng([settings.seed, _PLAN])
    strangers = round(_STRANGER_SHARE * settings.archive_images)
    known = settings.archive_images - strangers
    forged = round(settings.forged_fraction * known)
    order = rng.permutation(settings.archive_images)
    for i, rank in enumerate(order):
        camera, kind, donor = settings.cameras, None, None
        if rank < known:
            # Kinds take turns, and cameras take turns within a kind.
            kind = _KINDS[rank % len(_KINDS)] if rank < forged else None
            camera = int(rank // len(_KINDS) if kind else rank) % settings.cameras
            if kind == "splice":
                step = 1 + int(rng.integers(settings.cameras))
                donor = (camera + step) % (settings.cameras + 1)
        uri = f"archive/photo_{i:05d}.jpg"
        number = ARCHIVE_START + i
        yield Job(uri, "test", camera, number, kind=kind, donor=donor)
