"""Images of known origin, levelled and with their patches drawn, by Ray tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray

from forensics.evidence import open_image
from forensics.origin.level import LevelSettings, compressed_alike, earlier_may_show, level
from forensics.origin.patches import PatchSettings
from forensics.records import Image, ManifestRow, Rgb, UserError, explain
from forensics.train.origin.images import OriginImage, prepare
from jobs.cameras import Skipped, say_skipped
from jobs.waiting import wait_for

NAMELESS = "(unknown)"


@dataclass(frozen=True)
class ImageSettings:
    """What becomes of an image on its way to the network."""

    classes: tuple[str, ...]
    patches: PatchSettings
    level: LevelSettings | None
    seed: int
    max_megapixels: float
    jpeg_quality: int | None = None  # of images that are not levelled: as the detector has them


@dataclass(frozen=True)
class Prepared:
    """What can be learned from, in the order of the manifest, and why the rest cannot."""

    images: tuple[Any, ...]  # references of `OriginImage`
    rows: tuple[ManifestRow, ...]  # theirs
    skipped: tuple[Skipped, ...]
    showing: tuple[str, ...]  # ids of images whose earlier compression levelling may not hide

    def of(self, folds: NDArray[np.int64], fold: int, *, tested: bool) -> list[Any]:
        """References of the images of one fold, or of all the others."""
        return [self.images[k] for k in np.flatnonzero((folds == fold) == tested)]

    def say(self) -> None:
        """What people should know of the rest."""
        say_skipped(self.skipped)
        if self.showing:
            print(
                f"{len(self.showing)} images were compressed before in a way that may still show "
                f"(first: {self.showing[0]}): as JPEG harder than levelling does, or as WebP or "
                "AVIF; lower level.jpeg_qualities, or leave them out"
            )


def classes_of(rows: Sequence[ManifestRow], natural: str) -> tuple[str, ...]:
    """The labels that occur, that of photographs first, the others by name.

    Raises `UserError` for fewer than two.
    """
    labels = sorted({row.label for row in rows if row.label is not None})
    if len(labels) < 2:
        named = ", ".join(labels) or "none"
        raise UserError(
            f"the manifest's labels name the classes; two or more are needed, there is {named}"
        )
    return tuple(sorted(labels, key=lambda label: label != natural))


def missing_in(rows: Sequence[ManifestRow], classes: Sequence[str]) -> list[str]:
    """The classes that no image is of."""
    there = {row.label for row in rows}
    return [name for name in classes if name not in there]


def source_of(row: ManifestRow) -> str:
    """The collection that an image is from: its source, or else its camera.

    Images of which neither is known may be of one source, so they count as one.
    """
    return row.source or row.camera_id or NAMELESS


def prepare_images(rows: Sequence[ManifestRow], settings: ImageSettings) -> Prepared:
    """Level the images and draw their patches; they stay in the object store."""
    made = [prepared.remote(row, settings) for row in rows]
    ended = [outcome for _, outcome in made]
    wait_for(ended, "images prepared")
    outcomes = ray.get(ended)
    kept = [k for k, (skipped, _) in enumerate(outcomes) if skipped is None]
    return Prepared(
        tuple(made[k][0] for k in kept),
        tuple(rows[k] for k in kept),
        tuple(skipped for skipped, _ in outcomes if skipped is not None),
        tuple(rows[k].image_id for k in kept if outcomes[k][1]),
    )


@ray.remote(num_cpus=1, num_returns=2)  # type: ignore[untyped-decorator]
def prepared(
    row: ManifestRow, settings: ImageSettings
) -> tuple[OriginImage | None, tuple[Skipped | None, bool]]:
    """One image, or why there is none; and whether an earlier compression may show."""
    try:
        if row.label not in settings.classes:
            raise UserError(f"its label is {row.label!r}, which names no class")
        _, found = open_image(row, settings.max_megapixels)
        image = prepare(
            row.image_id,
            source_of(row),
            settings.classes.index(row.label),
            _pixels(found, row.image_id, settings),
            settings.patches,
            settings.seed,
        )
    except Exception as error:
        return None, (Skipped(row.image_id, explain(error)), False)
    showing = settings.level is not None and earlier_may_show(found, settings.level)
    return image, (None, showing)


def _pixels(found: Image, image_id: str, settings: ImageSettings) -> Rgb:
    if settings.level is not None:
        return level(found.pixels, image_id, settings.level)
    if settings.jpeg_quality is not None:
        return compressed_alike(found.pixels, settings.jpeg_quality)
    return found.pixels
