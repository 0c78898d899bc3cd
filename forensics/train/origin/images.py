"""What a network of the origin learns from: levelled images, and where their patches are."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forensics.origin.level import LevelSettings, level
from forensics.origin.patches import PatchSettings, cut, select
from forensics.records import NotApplicable, Rgb

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class OriginImage:
    """An image of known origin."""

    image_id: str
    source: str
    label: int  # number of the class
    pixels: Rgb
    corners: Ints  # (n, 2) of its patches

    def patches(self, side: int) -> Rgb:
        """uint8 (n, side, side, 3)."""
        return cut(self.pixels, self.corners, side)


def prepare(
    image_id: str,
    source: str,
    label: int,
    rgb: Rgb,
    patches: PatchSettings,
    levelling: LevelSettings | None,
    seed: int = 0,
) -> OriginImage:
    """Level the image, if so set, and draw its patches.

    Both depend on ``image_id`` and the seeds alone. Raises `NotApplicable` for an image that is too
    small, and for one without a single edge: there is nothing in it to learn from.
    """
    pixels = rgb if levelling is None else level(rgb, image_id, levelling)
    chosen = select(pixels, patches, [seed, zlib.crc32(image_id.encode())])
    if not len(chosen.corners):
        height, width = pixels.shape[:2]
        raise NotApplicable(f"{width}x{height} pixels hold no patch of {patches.side} pixels")
    if not chosen.edges.any():
        raise NotApplicable("it has no edge")
    return OriginImage(image_id, source, label, pixels, chosen.corners)
