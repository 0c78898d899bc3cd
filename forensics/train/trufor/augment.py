"""Square crops of images with their masks, at any position, resized and compressed at random.

The published augmentation of TruFor: sides times 0.5 to 1.5 in half of the cases, then JPEG of
quality 30 to 100 in half of the cases. Only what a crop shows is worked on; the result is that of
working on the whole image and cutting then, but for rounding in resized ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from forensics.prnu.recompress import recompress
from forensics.records import Rgb
from forensics.train.trufor.losses import FORGED, IGNORED, PRISTINE

PADDING = 127.5
"""What a pixel is, of 255, where a crop is larger than its image."""

Mask = NDArray[np.bool_]

_CHANCE = 0.5
_SCALES = (0.5, 1.5)
_QUALITIES = (30, 101)
_MCU = 16  # pixels: what 4:2:0 JPEG codes by itself, but for one that smooths into its neighbour


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How an image was treated before it is cut; None where it was not."""

    scale: float | None = None
    quality: int | None = None  # of JPEG

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Augmentation:
        """The published choice."""
        chances = rng.random(2)
        scale, quality = float(rng.uniform(*_SCALES)), int(rng.integers(*_QUALITIES))
        return cls(
            scale if chances[0] < _CHANCE else None, quality if chances[1] < _CHANCE else None
        )


@dataclass(frozen=True, slots=True)
class Crop:
    """A square cut from an image, from its upper left corner on; the rest is padding."""

    pixels: NDArray[np.uint8]  # (side, side, 3); 0 in the padding
    truth: NDArray[np.uint8]  # (side, side): PRISTINE, FORGED or, in the padding, IGNORED
    height: int  # pixels that are not padding
    width: int


def cut(
    rgb: Rgb, mask: Mask, side: int, augmentation: Augmentation, rng: np.random.Generator
) -> Crop:
    """One crop at a random place of the augmented image.

    Args:
        rgb: uint8 (H, W, 3).
        mask: bool (H, W), true where forged.
        side: of the crop, pixels; an image that is smaller is padded below and on the right.
        augmentation: what to do first.
        rng: of the place.
    """
    scale = augmentation.scale or 1.0
    size = [max(1, round(length * scale)) for length in mask.shape]
    corner = [int(rng.integers(max(length - side, 0) + 1)) for length in size]
    margin = 0 if augmentation.quality is None else _MCU
    # the part of the augmented image that the crop's pixels follow from
    starts = [max(0, (at - margin) // _MCU * _MCU) for at in corner]
    ends = [min(n, at + side + 2 * margin) for n, at in zip(size, corner, strict=True)]
    if augmentation.scale is None:
        part = slice(starts[0], ends[0]), slice(starts[1], ends[1])
        pixels, forged = rgb[part], mask[part]
    else:
        pixels, forged = _resized(rgb, mask, size, starts, ends)
    if augmentation.quality is not None:
        pixels = recompress(np.ascontiguousarray(pixels), augmentation.quality)
    y, x = (at - start for at, start in zip(corner, starts, strict=True))
    pixels, forged = pixels[y : y + side, x : x + side], forged[y : y + side, x : x + side]
    height, width = forged.shape
    padded = np.zeros((side, side, 3), np.uint8)
    padded[:height, :width] = pixels
    truth = np.full((side, side), IGNORED, np.uint8)
    truth[:height, :width] = np.where(forged, FORGED, PRISTINE)
    return Crop(padded, truth, height, width)


def _resized(
    rgb: Rgb, mask: Mask, size: list[int], starts: list[int], ends: list[int]
) -> tuple[Rgb, Mask]:
    """Rows and columns ``starts`` to ``ends`` of image and mask at another size."""
    by_row, by_column = (before / after for before, after in zip(mask.shape, size, strict=True))
    box = (starts[1] * by_column, starts[0] * by_row, ends[1] * by_column, ends[0] * by_row)
    shape = ends[1] - starts[1], ends[0] - starts[0]
    pixels = Image.fromarray(rgb).resize(shape, Image.Resampling.BICUBIC, box)
    forged = Image.fromarray(mask.astype(np.uint8)).resize(shape, Image.Resampling.NEAREST, box)
    return np.asarray(pixels), np.asarray(forged) > 0
