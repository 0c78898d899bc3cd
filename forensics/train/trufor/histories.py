"""Editing histories: what may have happened to a photo between the camera and us.

Noiseprint++ learns to tell apart patches whose photos were edited differently (Guillaro et al.,
CVPR 2023, section 3.1): resizing, changes of light, compression, 512 chains in total. Which they
were is not published; these are all combinations of eight resizings, eight changes of light and
eight compressions, each of which includes none at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image

from forensics.prnu.recompress import recompress
from forensics.records import Rgb

HISTORIES = 512

MAX_SHRINK = 2
"""No history makes a photo smaller than one over this."""

_SCALES = ((0.5, 0.62), (0.62, 0.75), (0.75, 0.87), (0.87, 0.97), (1.03, 1.2), (1.2, 1.5), (1.5, 2))
_LIGHTS: tuple[tuple[Literal["brightness", "contrast", "gamma"], float, float], ...] = (
    ("brightness", 0.6, 0.9),
    ("brightness", 1.1, 1.4),
    ("contrast", 0.6, 0.9),
    ("contrast", 1.1, 1.5),
    ("gamma", 0.5, 0.85),
    ("gamma", 1.15, 1.6),
    ("gamma", 1.6, 2.2),
)
_QUALITIES = ((92, 100), (85, 92), (78, 85), (70, 78), (60, 70), (50, 60), (40, 50))
_FILTERS = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS)


@dataclass(frozen=True, slots=True)
class History:
    """A chain of edits in the order of the fields; None where an edit was not made."""

    scale: float | None  # both sides times this, 0.5..2
    resampling: Image.Resampling
    light: tuple[Literal["brightness", "contrast", "gamma"], float] | None
    quality: int | None  # of JPEG

    def side(self, side: int) -> int:
        """Length in pixels of what was ``side`` pixels long."""
        return side if self.scale is None else max(1, round(side * self.scale))

    def apply(self, rgb: Rgb) -> Rgb:
        """The edited photo, a new uint8 array: (H, W, 3) -> (side(H), side(W), 3)."""
        if self.scale is not None:
            size = self.side(rgb.shape[1]), self.side(rgb.shape[0])
            rgb = np.asarray(Image.fromarray(rgb).resize(size, self.resampling))
        if self.light is not None:
            rgb = _relit(rgb, *self.light)
        return rgb.copy() if self.quality is None else recompress(rgb, self.quality)


def history(number: int, seed: int = 0) -> History:
    """One of the `HISTORIES`: ``number`` says which edits, ``seed`` how strong within their kind.

    Number 0 is a photo as it is. Raises ValueError for a number that does not exist.
    """
    if not 0 <= number < HISTORIES:
        raise ValueError(f"there are {HISTORIES} editing histories, 0..{HISTORIES - 1}: {number}")
    rng = np.random.default_rng([seed, number])
    resize, light, compression = number // 64, number // 8 % 8, number % 8
    scale, factor = None, None
    if resize:
        scale = float(rng.uniform(*_SCALES[resize - 1]))
    resampling = _FILTERS[rng.integers(len(_FILTERS))]
    if light:
        kind, low, high = _LIGHTS[light - 1]
        factor = kind, float(rng.uniform(low, high))
    quality = int(rng.integers(*_QUALITIES[compression - 1])) if compression else None
    return History(scale, resampling, factor, quality)


def _relit(rgb: Rgb, kind: str, factor: float) -> Rgb:
    """Brightness scales all values, contrast their distance to the middle; gamma is an exponent."""
    values = np.arange(256) / 255
    if kind == "brightness":
        values = values * factor
    elif kind == "contrast":
        values = 0.5 + (values - 0.5) * factor
    else:
        values = values**factor
    table: Rgb = np.rint(255 * values.clip(0, 1)).astype(np.uint8)
    return table[rgb]
