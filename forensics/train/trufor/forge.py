"""Local manipulations of pristine photos, for phases 2 and 3 to learn from.

Unlike the forgeries of simulated archives, what is pasted may have a past of its own: it was
resized, relit or compressed before, or comes from a photo of another size.
"""

from __future__ import annotations

import numpy as np
from pydantic import Field
from skimage.restoration import inpaint_biharmonic

from forensics.config import Settings
from forensics.records import Rgb
from forensics.synth.forgeries import (
    Forgery,
    Kind,
    Mask,
    free_offsets,
    paste,
    random_region,
    remove,
)
from forensics.train.trufor.histories import HISTORIES, history

_ATTEMPTS = 50
_CANDIDATES = 64  # places that may give the texture of what fills a hole
_SMOOTH_PIXELS = 4000  # holes up to this size may be filled smoothly, which takes long
_SURROUNDINGS = 8  # pixels around a hole that a smooth filling follows from


class ForgerySettings(Settings):
    """How photos are manipulated."""

    smallest: float = Field(
        default=0.005, gt=0, lt=1, description="smallest forged part of a photo"
    )
    largest: float = Field(
        default=0.2, gt=0, lt=1, description="largest forged part; sizes are log-uniform"
    )
    edited: float = Field(
        default=0.5, ge=0, le=1, description="chance that what is pasted was edited before"
    )
    feather: int = Field(default=3, ge=0, description="widest soft border, pixels")


def manipulate(
    kind: Kind,
    rgb: Rgb,
    rng: np.random.Generator,
    settings: ForgerySettings,
    donor: Rgb | None = None,
) -> Forgery:
    """A forgery of a photo over one random region.

    Args:
        kind: ``splice`` takes the region from ``donor``, ``copymove`` from the photo itself;
            ``removal`` fills it with texture from around it or, where it is small, in half of the
            cases smoothly (biharmonic: Damelin and Hoang 2018, doi:10.1155/2018/3950312).
        rgb: uint8 (H, W, 3).
        rng: decides all that is left open.
        settings: how.
        donor: another photo, of any size.

    Returns:
        Pixels that differ from the photo inside the mask alone, and the mask.

    Raises:
        ValueError: no donor for a splice, or a photo without room for any region.
    """
    if kind == "splice" and donor is None:
        raise ValueError("a splice needs a donor image")
    for _ in range(_ATTEMPTS):
        mask = _region(rgb, rng, settings)
        if kind == "removal":
            filled = _removed(rgb, mask, rng)
        else:
            filled = _pasted(rgb, donor if kind == "splice" else None, mask, rng, settings)
        if filled is not None:
            return Forgery(kind, filled, mask)
    height, width = rgb.shape[:2]
    raise ValueError(f"{kind}: no region of a {width}x{height} photo leaves room to copy from")


def _region(rgb: Rgb, rng: np.random.Generator, settings: ForgerySettings) -> Mask:
    low, high = sorted((settings.smallest, settings.largest))
    area = float(np.exp(rng.uniform(np.log(low), np.log(high))))
    height, width = rgb.shape[:2]
    return random_region(height, width, (area, area), rng)


def _removed(rgb: Rgb, mask: Mask, rng: np.random.Generator) -> Rgb | None:
    if mask.sum() <= _SMOOTH_PIXELS and rng.random() < 0.5:
        return _smoothly_filled(rgb, mask)
    offsets = free_offsets(mask)
    if not len(offsets):
        return None
    return remove(rgb, mask, offsets[rng.integers(len(offsets), size=_CANDIDATES)])


def _smoothly_filled(rgb: Rgb, mask: Mask) -> Rgb:
    y, x = (slice(max(0, s.start - _SURROUNDINGS), s.stop + _SURROUNDINGS) for s in _box(mask))
    filled = inpaint_biharmonic(rgb[y, x], mask[y, x], channel_axis=-1)
    result = rgb.copy()
    result[mask] = np.rint(255 * filled.clip(0, 1)).astype(np.uint8)[mask[y, x]]
    return result


def _pasted(
    rgb: Rgb,
    donor: Rgb | None,
    mask: Mask,
    rng: np.random.Generator,
    settings: ForgerySettings,
) -> Rgb | None:
    """A window of the donor, or of the photo elsewhere, in place of the region."""
    rows, columns = _box(mask)
    height, width = rows.stop - rows.start, columns.stop - columns.start
    content = rgb if donor is None else donor
    edited = rng.random() < settings.edited
    if edited:
        content = history(int(rng.integers(HISTORIES)), int(rng.integers(2**31))).apply(content)
    if donor is None and not edited:
        offsets = free_offsets(mask)
        if not len(offsets):
            return None
        y, x = (rows.start, columns.start) + offsets[rng.integers(len(offsets))]
    elif content.shape[0] < height or content.shape[1] < width:
        return None
    else:
        y = rng.integers(content.shape[0] - height + 1)
        x = rng.integers(content.shape[1] - width + 1)
    source = rgb.copy()
    source[rows, columns] = content[y : y + height, x : x + width]
    return paste(rgb, source, mask, int(rng.integers(settings.feather + 1)))


def _box(mask: Mask) -> tuple[slice, slice]:
    """The smallest rectangle that holds the mask."""
    ends = (np.flatnonzero(mask.any(axis=axis))[[0, -1]] for axis in (1, 0))
    rows, columns = (slice(int(first), int(last) + 1) for first, last in ends)
    return rows, columns
