"""What TruFor learns from: photos are cut, images and masks looked at, by Ray tasks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Any

import ray

from forensics.evidence import open_image
from forensics.records import ManifestRow, UserError, explain
from forensics.train.trufor.examples import example_of
from forensics.train.trufor.patches import PhotoCrops, cut_crops
from forensics.train.trufor.settings import ContrastiveSettings
from jobs.cameras import Skipped
from jobs.waiting import wait_for

_IMAGES_PER_TASK = 8


@dataclass(frozen=True)
class Usable:
    """What can be learned from, and why the rest cannot."""

    items: list[Any]  # phase 1: references of PhotoCrops; else rows of the manifest
    sources: dict[str, int]  # of the items: how many of which data set
    skipped: tuple[Skipped, ...]


def usable_photos(
    rows: Sequence[ManifestRow], settings: ContrastiveSettings, max_megapixels: float
) -> Usable:
    """Crops of the photos, in the object store. Raises `UserError` for a row without camera."""
    if nameless := [row.image_id for row in rows if row.camera_id is None]:
        raise UserError(
            f"{len(nameless)} photos have no camera_id (first: {nameless[0]}); Noiseprint++ learns "
            "from photos of known cameras or camera models"
        )
    cut = [crops_of.remote(row, settings, max_megapixels) for row in rows]
    ended = [reason for _, reason in cut]
    wait_for(ended, "photos cut")
    reasons = ray.get(ended)
    usable = [reason is None for reason in reasons]
    kept = [crops for crops, _ in compress(cut, usable)]
    skipped = tuple(reason for reason in reasons if reason is not None)
    return Usable(kept, _sources(compress(rows, usable)), skipped)


def usable_images(rows: Sequence[ManifestRow], max_megapixels: float) -> Usable:
    """The images that can be read, and their masks."""
    size = _IMAGES_PER_TASK
    parts = [rows[start : start + size] for start in range(0, len(rows), size)]
    checked = {unusable.remote(part, max_megapixels): len(part) for part in parts}
    wait_for(checked, "images read", checked)
    skipped = [image for part in ray.get(list(checked)) for image in part]
    names = {image.image_id for image in skipped}
    kept = [row for row in rows if row.image_id not in names]
    return Usable(kept, _sources(kept), tuple(skipped))


def _sources(rows: Iterable[ManifestRow]) -> dict[str, int]:
    return dict(Counter(str(row.source) for row in rows))


@ray.remote(num_cpus=1, num_returns=2)  # type: ignore[untyped-decorator]
def crops_of(
    row: ManifestRow, settings: ContrastiveSettings, max_megapixels: float
) -> tuple[PhotoCrops | None, Skipped | None]:
    """Crops of one photo, or why there are none."""
    try:
        rgb = open_image(row, max_megapixels)[1].pixels
        return cut_crops(row.image_id, str(row.camera_id), rgb, settings), None
    except Exception as error:
        return None, Skipped(row.image_id, explain(error))


@ray.remote(num_cpus=1)  # type: ignore[untyped-decorator]
def unusable(rows: Sequence[ManifestRow], max_megapixels: float) -> list[Skipped]:
    """The images that nothing can be learned from, and why."""
    skipped = []
    for row in rows:
        try:
            example = example_of(row, max_megapixels)
            _, mask = example.read()
            if example.forged and not mask.any():
                raise UserError("is forged, but its mask marks no pixel")
        except Exception as error:
            skipped.append(Skipped(row.image_id, explain(error)))
    return skipped
