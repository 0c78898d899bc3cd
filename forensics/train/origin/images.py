"""What a network of the origin learns from: images, and where their patches are."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forensics.origin.patches import PatchSettings, cut, select
from forensics.records import Rgb

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
    image_id: str, source: str, label: int, pixels: Rgb, patches: PatchSettings, seed: int = 0
) -> OriginImage:
    """Draw the patches of an image, as ``image_id`` and the seed have it.

    Raises `NotApplicable` as `select` does: there is nothing in the image to learn from.
    """
    chosen = select(pixels, patches, [seed, zlib.crc32(image_id.encode())])
    return OriginImage(image_id, source, label, pixels, chosen.corners)
