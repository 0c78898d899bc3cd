"""Levelling: what tells the collections apart that classes come from, and not the classes.

In every real collection photographs, renderings and generated images differ in size, format and
JPEG quality. A classifier learns that before anything else.
"""

from __future__ import annotations

import zlib
from typing import Annotated, Self

import numpy as np
from pydantic import Field, model_validator

from forensics.config import Settings
from forensics.prnu.recompress import recompress
from forensics.records import NotApplicable, Rgb

Quality = Annotated[int, Field(ge=1, le=100)]


class LevelSettings(Settings):
    """A common range of sizes, by cropping alone, and a common compression."""

    smallest: int = Field(224, ge=1, description="side below which an image is left out, pixels")
    largest: int = Field(1024, ge=1, description="longer sides are cropped to it, pixels")
    jpeg_qualities: tuple[Quality, Quality] = Field(
        (70, 90), description="every image is compressed at a quality drawn from here, last"
    )
    seed: int = Field(0, ge=0, description="of places and qualities")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.smallest > self.largest or self.jpeg_qualities[0] > self.jpeg_qualities[1]:
            raise ValueError("smallest must not exceed largest, nor the first quality the second")
        return self


def level(rgb: Rgb, image_id: str, settings: LevelSettings) -> Rgb:
    """The image cropped and compressed, uint8 (h, w, 3), a new array.

    The part of a longer side that stays, and the quality, follow from ``image_id`` and the seed,
    whatever the class. Nothing is resized: that would leave traces of its own. The part begins
    anywhere, so that blocks of an earlier compression lie across those of the last.

    What this cannot take away: how sharp pixels are at the size they were found in, what is in the
    pictures, and an earlier compression that was stronger than this one (see `compressed_harder`).

    Raises `NotApplicable` for an image with a side below ``smallest``.
    """
    height, width = rgb.shape[:2]
    if min(height, width) < settings.smallest:
        raise NotApplicable(
            f"{width}x{height} pixels are below the common range of sizes, which begins at "
            f"{settings.smallest} (setting level.smallest)"
        )
    rng = np.random.default_rng([settings.seed, zlib.crc32(image_id.encode())])
    quality = int(rng.integers(settings.jpeg_qualities[0], settings.jpeg_qualities[1] + 1))
    y, x = (int(rng.integers(max(0, side - settings.largest) + 1)) for side in (height, width))
    part = rgb[y : y + settings.largest, x : x + settings.largest]
    return recompress(np.ascontiguousarray(part), quality)


def compressed_harder(jpeg_quality: int | None, settings: LevelSettings) -> bool:
    """Whether an image was compressed so strongly before that levelling may not hide it.

    ``jpeg_quality`` is that of the file as found; None for one that is no JPEG.
    """
    return jpeg_quality is not None and jpeg_quality < settings.jpeg_qualities[0]
