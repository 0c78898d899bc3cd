"""What images undergo in the study of the origin's robustness (Fig. 5 of the paper)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image

from forensics.prnu.recompress import recompress
from forensics.records import Rgb

Kind = Literal["original", "jpeg", "scale", "rotate", "flip", "contrast"]


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing done to an image.

    ``amount`` is a JPEG quality, a factor for both sides, degrees counter-clockwise (90, 180, 270),
    0 for a flip left to right and 1 for upside down, or α of the contrast.
    """

    kind: Kind = "original"
    amount: float = 0.0

    @property
    def name(self) -> str:
        """Such as ``jpeg-90``, ``scale-1.3``, ``flip-vertical``."""
        if self.kind == "original":
            return self.kind
        if self.kind == "flip":
            return "flip-vertical" if self.amount else "flip-horizontal"
        return f"{self.kind}-{self.amount:g}"

    def apply(self, rgb: Rgb) -> Rgb:
        """uint8 (H, W, 3) to uint8 (h, w, 3)."""
        match self.kind:
            case "jpeg":
                return recompress(rgb, int(self.amount))
            case "scale":
                return _scaled(rgb, self.amount)
            case "rotate":
                return np.ascontiguousarray(np.rot90(rgb, round(self.amount / 90)))
            case "flip":
                return np.ascontiguousarray(rgb[::-1] if self.amount else rgb[:, ::-1])
            case "contrast":
                return stretch(rgb, self.amount)
            case _:
                return rgb


def stretch(rgb: Rgb, alpha: float) -> Rgb:
    """Piecewise linear contrast (section 3.4): (1 + α)·min becomes 0 and (1 − α)·max 255.

    Minimum and maximum are of all pixels and colours; what lies beyond is cut. A picture in which
    the two meet stays as it is.
    """
    low, high = (1 + alpha) * float(rgb.min()), (1 - alpha) * float(rgb.max())
    if high <= low:
        return rgb
    table = np.rint((np.arange(256) - low) * (255 / (high - low))).clip(0, 255).astype(np.uint8)
    stretched: Rgb = table[rgb]
    return stretched


def _scaled(rgb: Rgb, factor: float) -> Rgb:
    """Bicubic; Pillow's, which widens the kernel when shrinking."""
    height, width = (max(1, round(side * factor)) for side in rgb.shape[:2])
    return np.asarray(Image.fromarray(rgb).resize((width, height), Image.Resampling.BICUBIC))
