"""Patches of photos, cut by Ray tasks; they stay in the object store."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import ray

from forensics.evidence import open_image
from forensics.manipulation.operations import Manipulation
from forensics.records import FORGED, ManifestRow, UserError, explain
from forensics.train.manipulation.patches import Patches, Photo, cut
from jobs.cameras import Skipped
from jobs.waiting import wait_for

NAMELESS = "(unknown)"


@dataclass(frozen=True)
class PatchSettings:
    """Which patches are cut from a photo, and into which versions of it."""

    manipulations: tuple[Manipulation, ...]  # classes 1, 2, …
    window: int
    per_photo: int | None
    seed: int
    max_megapixels: float


@dataclass(frozen=True)
class CutPhoto:
    """The patches of one photo that can be used."""

    device: str
    patches: Any  # reference of `Patches`


@dataclass(frozen=True)
class CutPhotos:
    """What can be learned from, in the order of the photos, and why the rest cannot."""

    photos: tuple[CutPhoto, ...]
    skipped: tuple[Skipped, ...]

    @property
    def devices(self) -> tuple[str, ...]:
        return tuple(sorted({photo.device for photo in self.photos}))

    def of(self, devices: Collection[str]) -> list[Any]:
        """References of the patches of these devices' photos."""
        return [photo.patches for photo in self.photos if photo.device in devices]


def device_of(row: ManifestRow) -> str:
    """What counts as the device of a photo: its camera, or else its source.

    Photos of which neither is known may be of one camera, so they count as one device.
    """
    return row.camera_id or row.source or NAMELESS


def cut_photos(rows: Sequence[ManifestRow], settings: PatchSettings) -> CutPhotos:
    """Cut the photos; those that are forged, are no images or have no usable patch are skipped."""
    made = [patches_of.remote(row, settings) for row in rows]
    ended = [reason for _, reason in made]
    wait_for(ended, "photos cut")
    reasons = ray.get(ended)
    photos = tuple(
        CutPhoto(device_of(row), patches)
        for row, (patches, _), reason in zip(rows, made, reasons, strict=True)
        if reason is None
    )
    return CutPhotos(photos, tuple(reason for reason in reasons if reason is not None))


@ray.remote(num_cpus=1, num_returns=2)  # type: ignore[untyped-decorator]
def patches_of(row: ManifestRow, settings: PatchSettings) -> tuple[Patches | None, Skipped | None]:
    """Patches of one photo, or why there are none."""
    try:
        if row.label == FORGED:
            raise UserError("it is forged: only pristine photos show what was done to them")
        rgb = open_image(row, settings.max_megapixels)[1].pixels
        photo = Photo(row.image_id, device_of(row), rgb)
        return (
            cut(
                [photo],
                settings.manipulations,
                settings.window,
                settings.per_photo,
                settings.seed,
            ),
            None,
        )
    except Exception as error:
        return None, Skipped(row.image_id, explain(error))
