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
from forensics.records import Image, NotApplicable, Rgb

Quality = Annotated[int, Field(ge=1, le=100)]

_BLOCK = 8  # side of a JPEG block
_JPEG_SIDE = 65500  # longest that libjpeg writes
_LOSSY = ("AVIF", "WEBP", "JPEG", "MPO")  # where no quality is known


class LevelSettings(Settings):
    """A common range of sizes, by cropping alone, and a common compression."""

    smallest: int = Field(224, ge=1, description="side below which an image is left out, pixels")
    largest: int = Field(1024, ge=1, description="longer sides are cropped to it, pixels")
    jpeg_qualities: tuple[Quality, Quality] = Field(
        (70, 90), description="every image is compressed at a quality drawn from here, last"
    )
    seed: int = Field(0, ge=0, description="seed of the crops' places and the qualities")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.smallest > self.largest or self.jpeg_qualities[0] > self.jpeg_qualities[1]:
            raise ValueError("smallest must not exceed largest, nor the first quality the second")
        return self


def level(rgb: Rgb, image_id: str, settings: LevelSettings) -> Rgb:
    """The image cropped and compressed, uint8 (h, w, 3), a new array.

    What stays, and the quality, follow from ``image_id`` and the seed, whatever the class. Nothing
    is resized: that would leave traces of its own. Rows and columns are cut off above and on the
    left, in no multiple of 8 and of sides within ``largest`` too, so that blocks of an earlier
    compression lie across those of the last, unless a side is just ``smallest``.

    What this cannot take away: how sharp pixels are at the size they were found in, what is in the
    pictures, and an earlier compression that was stronger than this one (see
    `earlier_may_show`).

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
    y, x = (_begin(side, settings, rng) for side in (height, width))
    part = rgb[y : y + settings.largest, x : x + settings.largest]
    return recompress(np.ascontiguousarray(part), quality)


def compressed_alike(rgb: Rgb, quality: int) -> Rgb:
    """A whole image compressed as `level` compresses, uint8 (H, W, 3), a new array.

    For a network that learned from levelled images. Nothing is cropped, so places stay: blocks
    begin in row and column 4, lest they lie on those of the file, and what is before stays as it
    is.

    Raises `NotApplicable` for a side that no JPEG file can have.
    """
    height, width = rgb.shape[:2]
    if max(height, width) > _JPEG_SIDE:
        raise NotApplicable(
            f"{width}x{height} pixels: JPEG, in which the network's images were compressed, ends "
            f"at {_JPEG_SIDE} a side"
        )
    compressed = rgb.copy()
    inner = rgb[_BLOCK // 2 :, _BLOCK // 2 :]
    if inner.size:
        compressed[_BLOCK // 2 :, _BLOCK // 2 :] = recompress(np.ascontiguousarray(inner), quality)
    return compressed


def earlier_may_show(image: Image, settings: LevelSettings) -> bool:
    """Whether an image was compressed so strongly before that levelling may not hide it.

    So it is of JPEG files below the best quality that levelling may give them, and of formats with
    loss whose strength is not known (AVIF; WebP, also if it is one without loss). What a PNG went
    through before cannot be seen, and is not told.
    """
    if image.jpeg_quality is not None:
        return image.jpeg_quality < settings.jpeg_qualities[1]
    return image.format in _LOSSY


def _begin(side: int, settings: LevelSettings, rng: np.random.Generator) -> int:
    """First row or column that stays."""
    most = min(max(side - settings.largest, _BLOCK - 1), side - settings.smallest)
    places = np.arange(most + 1)
    places = places[places % _BLOCK > 0]
    return int(rng.choice(places)) if len(places) else 0
