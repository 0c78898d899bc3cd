"""Pictures of an image with its maps: heat, outline and scale bar.

Pure functions: uint8 (H, W, 3) pictures and ``Map``s in, new uint8 (H, W, 3) pictures out.
"""

from __future__ import annotations

import io
from functools import cache
from typing import Literal

import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import maximum_filter, minimum_filter

from forensics.records import Map, Rgb

OUTLINE = (0, 229, 255)
"""Cyan: the one hue that the heat colours, black to red to yellow, never take."""

Mime = Literal["image/png", "image/jpeg", "image/webp"]
MAX_ALPHA = 0.85


def heat_overlay(rgb: Rgb, values: Map) -> Rgb:
    """The picture in grey with the map's values in colour over it.

    Grey below, so that every colour seen is the map's. The colours are matplotlib's ``inferno``
    (perceptually even, readable without colour vision); opacity grows with the value, from none at
    0 to 0.85 at 1. ``values`` belongs to ``rgb``: (ceil(H/stride), ceil(W/stride)) cells.
    """
    level = _levels(fit(values, rgb.shape[:2]).values)
    grey = rgb.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    colours, alpha = _heat()
    shown = alpha[level, None] * (colours[level] - grey[..., None]) + grey[..., None]
    return np.rint(shown).clip(0, 255).astype(np.uint8)


def grey(values: Map) -> Rgb:
    """The map's values from black at 0 to white at 1, one pixel per cell."""
    return np.repeat(_levels(values.values)[..., None], 3, axis=2)


def outline(rgb: Rgb, decision: Map, colour: tuple[int, int, int] = OUTLINE, width: int = 2) -> Rgb:
    """The picture with a line just inside every region that the decision calls tampered.

    The line is ``width`` pixels wide, with a dark pixel outside it so that it shows on any ground;
    it follows the picture's edge where a region touches it. A region thinner than the line is
    filled. ``decision`` belongs to ``rgb``, as in ``heat_overlay``.
    """
    region = fit(decision, rgb.shape[:2]).values.astype(np.bool_)
    line = region & ~minimum_filter(region, 2 * width + 1, mode="constant", cval=False)
    casing = maximum_filter(region, 3, mode="constant", cval=False) & ~region
    out = rgb.copy()
    out[casing] = (out[casing].astype(np.uint16) * 2 // 5).astype(np.uint8)
    out[line] = colour
    return out


def fit(values: Map, size: tuple[int, ...], out: tuple[int, int] | None = None) -> Map:
    """The map of an image of ``size`` (H, W), with one cell per pixel of a picture of ``out``.

    ``out`` (h, w) is the image's own size unless given. Where cells get larger they are repeated,
    where they get smaller they are averaged; a decision is then true if any part of it was, so that
    a small region does not vanish from a small picture. Raises ValueError where the map does not
    have the shape that its stride and ``size`` ask for.
    """
    height, width = size
    rows, columns = -(-height // values.stride), -(-width // values.stride)
    if values.values.shape != (rows, columns):
        raise ValueError(
            f"a {values.kind} map of stride {values.stride} over {height} x {width} pixels has "
            f"{rows} x {columns} cells, this one has {values.values.shape}"
        )
    out_height, out_width = out or (height, width)
    if values.stride == 1 and (out_height, out_width) == (height, width):
        return values
    cells = Image.fromarray(_levels(values.values))
    # The last cells may reach over the image's edge: only the part on the image is spread.
    box = (0, 0, width / values.stride, height / values.stride)
    level = np.asarray(cells.resize((out_width, out_height), Image.Resampling.BOX, box))
    fitted = level > 0 if values.kind == "decision" else level.astype(np.float32) / np.float32(255)
    return Map(values.kind, 1, fitted)


def shrink(rgb: Rgb, height: int, width: int) -> Rgb:
    """The picture scaled down to fit ``height`` x ``width``, keeping its shape; never enlarged."""
    factor = min(1.0, height / rgb.shape[0], width / rgb.shape[1])
    if factor == 1:
        return rgb
    size = max(1, round(rgb.shape[1] * factor)), max(1, round(rgb.shape[0] * factor))
    return np.asarray(Image.fromarray(rgb).resize(size, Image.Resampling.LANCZOS))


def scale_bar(width: int, height: int) -> Rgb:
    """The colours of ``heat_overlay`` over middle grey, from 0 at the left to 1 at the right."""
    ramp = np.broadcast_to(np.linspace(0, 1, width, dtype=np.float32), (height, width))
    return heat_overlay(np.full((height, width, 3), 128, np.uint8), Map("probability", 1, ramp))


def encode_picture(rgb: Rgb, mime: Mime = "image/webp", quality: int = 82) -> bytes:
    """The picture as a file; ``quality`` is for JPEG and WebP. PNG is exact."""
    kind = mime.removeprefix("image/").upper()
    options = {} if kind == "PNG" else {"quality": quality}
    if kind == "JPEG":
        options["subsampling"] = 0  # half the colour resolution would blur the outline
    stream = io.BytesIO()
    Image.fromarray(rgb).save(stream, kind, **options)
    return stream.getvalue()


def _levels(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    """0..1 or bool as 0..255."""
    if values.dtype == np.bool_:
        return values.astype(np.uint8) * np.uint8(255)
    return np.rint(np.clip(values.astype(np.float32), 0, 1) * 255).astype(np.uint8)


@cache
def _heat() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Colour (256, 3) in 0..255 and opacity (256,) of each level."""
    steps = np.linspace(0, 1, 256)
    colours = (colormaps["inferno"](steps)[:, :3] * 255).astype(np.float32)
    return colours, (MAX_ALPHA * steps).astype(np.float32)
