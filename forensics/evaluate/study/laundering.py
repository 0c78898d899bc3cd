"""Laundering: what an image goes through on its way, which weakens the traces in it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from forensics.config import Settings
from forensics.evaluate.study.settings import Quality
from forensics.prnu.recompress import recompress
from forensics.records import Rgb

Mask = NDArray[np.bool_]


class Laundering(Settings):
    """Resizing, then compression, as a social network does it; what is not given is left out."""

    scale: float = Field(1.0, gt=0, le=2, description="both sides times this")
    longest_side: int | None = Field(
        None, ge=32, description="pixels; an image with a longer side is shrunk to it"
    )
    jpeg_quality: Quality | None = Field(None, description="quality of the JPEG it becomes")

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width that an image of that size gets."""
        scale = self.scale
        if self.longest_side is not None:
            scale = min(scale, self.longest_side / max(height, width))
        return max(1, round(height * scale)), max(1, round(width * scale))

    def apply(self, rgb: Rgb) -> Rgb:
        """uint8 (H, W, 3) to the same of another size; bicubic."""
        height, width = self.size(*rgb.shape[:2])
        if (height, width) != rgb.shape[:2]:
            picture = Image.fromarray(rgb).resize((width, height), Image.Resampling.BICUBIC)
            rgb = np.asarray(picture)
        return rgb if self.jpeg_quality is None else recompress(rgb, self.jpeg_quality)

    def carry(self, mask: Mask) -> Mask:
        """The mask of an image, bool (H, W), as that of the laundered one; nearest neighbour."""
        height, width = self.size(*mask.shape)
        picture = Image.fromarray(mask.astype(np.uint8))
        return np.asarray(picture.resize((width, height), Image.Resampling.NEAREST)) > 0
