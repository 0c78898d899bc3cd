"""Forgeries with exact masks: splice, copy-move, removal.

Every function takes uint8 (H, W, 3) pixels and returns new ones that differ from them inside the
mask only; blending happens on the inside of its border. The caller compresses the result.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from forensics.records import Rgb

Mask = NDArray[np.bool_]
Values = NDArray[np.float32]
Kind = Literal["splice", "copymove", "removal"]

USUAL_AREA = (0.03, 0.12)  # fractions of the image
_FEATHER = 2  # pixels
_RING = 3  # pixels around a removed region that its filling has to match
_CANDIDATES = 64
_ATTEMPTS = 50


@dataclass(frozen=True, slots=True)
class Forgery:
    """Forged pixels, uint8 (H, W, 3), and the truth: bool (H, W), True where forged."""

    kind: Kind
    pixels: Rgb
    mask: Mask


def forge(
    kind: Kind,
    image: Rgb,
    seed: int | list[int],
    *,
    donor: Rgb | None = None,
    area: tuple[float, float] = USUAL_AREA,
) -> Forgery:
    """A forgery of ``image`` over one random region of ``area`` (fractions of the image).

    ``donor``, which only a splice uses and needs, is a photo of the same size by another camera.
    Raises ValueError if it is missing, or if no region of that area leaves room to copy from.
    """
    rng = np.random.default_rng(seed)
    height, width = image.shape[:2]
    for _ in range(_ATTEMPTS):
        mask = random_region(height, width, area, rng)
        if kind == "splice":
            if donor is None:
                raise ValueError("a splice needs a donor image")
            return Forgery(kind, splice(image, donor, mask), mask)
        offsets = free_offsets(mask)
        if len(offsets):
            if kind == "copymove":
                offset = offsets[rng.integers(len(offsets))]
                return Forgery(kind, copy_move(image, mask, offset), mask)
            offsets = offsets[rng.integers(len(offsets), size=_CANDIDATES)]
            return Forgery(kind, remove(image, mask, offsets), mask)
    raise ValueError(
        f"{kind}: in a {height}x{width} image no region of {area[0]:.0%} to {area[1]:.0%} leaves "
        "room to copy from; ask for a smaller area"
    )


def random_region(
    height: int, width: int, area: tuple[float, float], rng: np.random.Generator
) -> Mask:
    """One irregular blob, bool (height, width).

    Its pixel count is a fraction of the image drawn from ``area`` (0 < low <= high < 1), rounded,
    and at least 1.
    """
    low, high = area
    if not 0 < low <= high < 1:
        raise ValueError(f"area must satisfy 0 < low <= high < 1, not {area}")
    count = max(1, round(rng.uniform(low, high) * height * width))
    centre_y, centre_x = rng.uniform(0.15, 0.85, 2) * (height - 1, width - 1)
    y = np.arange(height, dtype=np.float32)[:, None] - np.float32(centre_y)
    x = np.arange(width, dtype=np.float32)[None, :] - np.float32(centre_x)
    turn, ratio = rng.uniform(0, np.pi), rng.uniform(1.0, 1.6)
    along = np.float32(np.cos(turn)) * x + np.float32(np.sin(turn)) * y
    across = np.float32(ratio) * (np.float32(np.cos(turn)) * y - np.float32(np.sin(turn)) * x)
    angle = np.arctan2(across, along)
    outline = np.ones_like(angle)
    for order in range(2, 8):
        amplitude, phase = rng.uniform(0, 0.35 / order), rng.uniform(0, 2 * np.pi)
        outline += np.float32(amplitude) * np.cos(np.float32(order) * angle + np.float32(phase))
    # Star-shaped: the pixels nearest to the centre, in units of the outline in their direction.
    distance = np.hypot(along, across) / outline
    nearest = np.argpartition(distance, count - 1, axis=None)[:count]
    mask = np.zeros(height * width, dtype=bool)
    mask[nearest] = True
    return mask.reshape(height, width)


def splice(image: Rgb, donor: Rgb, mask: Mask) -> Rgb:
    """The donor's pixels in place of the image's, where the mask is set."""
    if image.shape != donor.shape:
        raise ValueError(f"the donor's shape {donor.shape} is not the image's {image.shape}")
    return paste(image, donor, mask)


def copy_move(image: Rgb, mask: Mask, offset: NDArray[np.intp]) -> Rgb:
    """The image's own pixels at ``offset`` (rows, columns) from the masked ones in their place."""
    _check_inside(mask, offset)
    y, x = np.nonzero(mask)
    source = image.copy()
    source[y, x] = image[y + offset[0], x + offset[1]]
    return paste(image, source, mask)


def remove(image: Rgb, mask: Mask, offsets: NDArray[np.intp]) -> Rgb:
    """The masked region filled with texture from around it, without a seam.

    Of the ``offsets`` (n, 2) the one whose surroundings fit best gives the texture; a smooth
    membrane through the differences along the border corrects its colour (the membrane form of
    Poisson cloning: Pérez, Gangnet, Blake 2003, doi:10.1145/882262.882269).
    """
    ring = _dilate(mask, _RING) & ~mask
    y, x = np.nonzero(ring)
    if not len(y):
        raise ValueError("the mask covers the whole image: nothing is left to fill it with")
    target = image[y, x].astype(np.float32)
    costs = []
    for dy, dx in offsets:
        costs.append(np.mean((target - _pick(image, y + dy, x + dx)) ** 2))
    best = offsets[int(np.argmin(costs))]
    _check_inside(mask, best)
    dy, dx = best

    # Only the bounding box of the ring takes part.
    rows, columns = np.arange(y.min(), y.max() + 1), np.arange(x.min(), x.max() + 1)
    box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    filling = _pick(image, rows[:, None] + dy, columns[None, :] + dx).astype(np.float32)
    filling += _membrane(image[box] - filling, ring[box])
    result = image.copy()
    result[mask] = np.rint(np.clip(filling, 0, 255)).astype(np.uint8)[mask[box]]
    return result


def free_offsets(mask: Mask) -> NDArray[np.intp]:
    """Displacements (n, 2) that keep the mask inside the image and its bounding box off itself."""
    rows, columns = np.nonzero(mask.any(axis=1))[0], np.nonzero(mask.any(axis=0))[0]
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    dy = np.arange(-top, mask.shape[0] - bottom + 1)
    dx = np.arange(-left, mask.shape[1] - right + 1)
    apart = (np.abs(dy)[:, None] >= bottom - top) | (np.abs(dx)[None, :] >= right - left)
    i, j = np.nonzero(apart)
    return np.stack([dy[i], dx[j]], axis=1)


def _check_inside(mask: Mask, offset: NDArray[np.intp]) -> None:
    y, x = np.nonzero(mask)
    y, x = y + offset[0], x + offset[1]
    if min(y.min(), x.min()) < 0 or y.max() >= mask.shape[0] or x.max() >= mask.shape[1]:
        raise ValueError(f"offset {tuple(offset)} leads out of the image; see free_offsets")


def _pick(image: Rgb, y: NDArray[np.intp], x: NDArray[np.intp]) -> Rgb:
    """Pixels at the positions; those outside repeat the border."""
    height, width = image.shape[:2]
    return image[np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)]


def paste(image: Rgb, source: Rgb, mask: Mask, feather: int = _FEATHER) -> Rgb:
    """``source`` over ``image``: half-way at the mask's border, fully ``feather`` pixels in."""
    soft = Image.fromarray(mask.astype(np.uint8) * 255).filter(ImageFilter.BoxBlur(feather))
    weight = (np.asarray(soft, dtype=np.float32) / 255)[mask][:, None]
    result = image.copy()
    old, new = image[mask].astype(np.float32), source[mask].astype(np.float32)
    result[mask] = np.rint(old + weight * (new - old)).astype(np.uint8)
    return result


def _dilate(mask: Mask, radius: int) -> Mask:
    picture = Image.fromarray(mask.astype(np.uint8) * 255)
    return np.asarray(picture.filter(ImageFilter.MaxFilter(2 * radius + 1))) > 0


def _membrane(values: Values, known: Mask) -> Values:
    """A smooth interpolation (H, W, C) of the values at the known pixels, by push and pull.

    Each level of a pyramid averages the known values of 2x2 cells; going back up, what is unknown
    takes the smoothed coarser level.
    """
    weight = known.astype(np.float32)[..., None]
    levels = [(values * weight, weight)]
    while max(levels[-1][1].shape[:2]) > 1:
        total, count = (_halve(part) for part in levels[-1])
        # A cell counts as known once anything in it is.
        weight = np.minimum(count, np.float32(1))
        levels.append((weight * _ratio(total, count), weight))
    filled = _ratio(*levels[-1])
    for total, count in reversed(levels[:-1]):
        height, width = count.shape[:2]
        coarse = np.empty_like(total)
        for channel in range(total.shape[2]):
            plane = Image.fromarray(np.ascontiguousarray(filled[..., channel]))
            coarse[..., channel] = plane.resize((width, height), Image.Resampling.BILINEAR)
        filled = total + (1 - count) * coarse
    return filled


def _ratio(total: Values, count: Values) -> Values:
    """``total / count``, and 0 where nothing was counted."""
    return np.divide(total, count, out=np.zeros_like(total), where=count > 0)


def _halve(part: Values) -> Values:
    """Sums over 2x2 cells; a border cell may be smaller."""
    height, width = part.shape[:2]
    part = np.pad(part, ((0, height % 2), (0, width % 2), (0, 0)))
    return part[0::2, 0::2] + part[1::2, 0::2] + part[0::2, 1::2] + part[1::2, 1::2]
