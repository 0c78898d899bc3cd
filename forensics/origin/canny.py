"""Edge pixels by Canny's method, with thresholds for gradients of 8-bit pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from forensics.records import Rgb

LOW, HIGH = 50, 100
"""The paper's thresholds, of |Gx| + |Gy| with 3x3 Sobel filters (1, 2, 1) on grey levels 0..255."""

_TAN = 13573  # tan 22.5° · 2^15
_STRIP = 1 << 17  # pixels looked at together: their planes stay in the cache

Plane = NDArray[np.int16]


def canny(rgb: Rgb, low: int = LOW, high: int = HIGH) -> NDArray[np.bool_]:
    """Edges of a picture, bool (H, W).

    Canny's detector (doi:10.1109/TPAMI.1986.4767851) as libraries for 8-bit pictures have it, in
    whose units 50 and 100 make sense: no smoothing, Sobel gradients of the grey levels (ITU-R 601),
    beyond the border the nearest pixel, magnitude |Gx| + |Gy|; of neighbours along the gradient
    (four directions) only the largest stays; what exceeds ``high`` is an edge, and what exceeds
    ``low`` and hangs together with it over any of 8 neighbours. On the scale of
    `skimage.feature.canny`, whose Sobel filter is divided by 4 and whose magnitude is Euclidean,
    these thresholds are about 12.5 and 25 grey levels for gradients along an axis.

    Args:
        rgb: uint8 (H, W, 3).
        low: magnitude, 0..2040.
        high: the same, at least ``low``.
    """
    grey = np.asarray(Image.fromarray(rgb).convert("L"))
    height, width = grey.shape
    kept = np.empty((height, width), np.bool_)
    strong = np.empty((height, width), np.bool_)
    rows = max(1, _STRIP // width)
    for top in range(0, height, rows):
        part = slice(top, min(top + rows, height))
        kept[part], strong[part] = _maxima(grey, part, low, high)
    return _connected(kept, strong)


def _maxima(
    grey: NDArray[np.uint8], part: slice, low: int, high: int
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Of some rows: local maxima above ``low``, and those of them above ``high``."""
    height = len(grey)
    # Magnitudes are needed a row beyond the part, and grey levels a row beyond those.
    inside = np.clip(np.arange(part.start - 2, part.stop + 2), 0, height - 1)
    padded = np.empty((len(inside), grey.shape[1] + 2), np.int16)
    padded[:, 1:-1] = grey[inside]
    padded[:, 0], padded[:, -1] = padded[:, 1], padded[:, -2]
    across, down = _sobel(padded)
    own = slice(1, -1)
    opposed = (across[own] ^ down[own]) < 0
    ax, ay = np.abs(across, out=across), np.abs(down, out=down)
    magnitude = np.zeros((ax.shape[0], ax.shape[1] + 2), np.int16)
    np.add(ax, ay, out=magnitude[:, own])
    if part.start == 0:
        magnitude[0] = 0
    if part.stop == height:
        magnitude[-1] = 0
    ax, ay = ax[own], ay[own]
    lower = ((ax.astype(np.int32) * _TAN) >> 15).astype(np.int16)  # |Gx| · tan 22.5°
    level = ay <= lower
    upright = ay > lower + 2 * ax  # |Gx| · tan 67.5°, which is 2 more
    slanted = ~(level | upright)
    middle, up, under = magnitude[own], magnitude[:-2], magnitude[2:]
    here, left, right = middle[:, own], slice(None, -2), slice(2, None)
    best = level & (here > middle[:, left]) & (here >= middle[:, right])
    best |= upright & (here > up[:, own]) & (here >= under[:, own])
    best |= slanted & opposed & (here > up[:, right]) & (here > under[:, left])
    best |= slanted & ~opposed & (here > up[:, left]) & (here > under[:, right])
    best &= here > low
    return best, best & (here > high)


def _sobel(padded: Plane) -> tuple[Plane, Plane]:
    """Gradients along the rows and along the columns, of all but the outermost pixels."""
    both = padded[:-2] + padded[2:]
    both += padded[1:-1]
    both += padded[1:-1]
    slope = padded[2:] - padded[:-2]
    down = slope[:, :-2] + slope[:, 2:]
    down += slope[:, 1:-1]
    down += slope[:, 1:-1]
    return both[:, 2:] - both[:, :-2], down


def _connected(kept: NDArray[np.bool_], strong: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Those that hang together with a strong one."""
    labels, count = ndimage.label(kept, np.ones((3, 3), np.bool_))
    found = np.zeros(count + 1, np.bool_)
    found[labels[strong]] = True
    edges: NDArray[np.bool_] = found[labels]
    return edges
