"""Which patches of an image are looked at: drawn by chance, by how many edge pixels they hold."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from forensics.config import Settings
from forensics.origin.canny import canny
from forensics.records import NotApplicable, Rgb

ORIENTATIONS = 6
"""As it is, turned by 90, 180 and 270 degrees, flipped left to right and upside down."""

Ints = NDArray[np.int64]


class PatchSettings(Settings):
    """Patches of an image; the defaults are the paper's, section 2.1."""

    side: int = Field(default=224, ge=32, multiple_of=32, description="side of a patch, pixels")
    count: int = Field(default=200, ge=1, description="patches of an image (the paper's M)")
    candidates: int = Field(
        default=20, ge=1, description="places to choose from, times the patches, at least"
    )


@dataclass(frozen=True, slots=True, eq=False)
class Selection:
    """The patches of an image, in the order in which they were drawn."""

    corners: Ints  # (n, 2) row and column of the upper left pixel; 0 < n <= count
    edges: Ints  # (n,) edge pixels in each


def select(rgb: Rgb, settings: PatchSettings, seed: int | list[int] = 0) -> Selection:
    """Draw patches as the paper does: a roulette wheel on which edge pixels are the shares.

    Candidates lie on a grid with the largest stride that gives ``candidates * count`` of them, or
    at every pixel of an image that has fewer places. Patches are drawn one after the other without
    putting any back, each with a chance proportional to its edge pixels; candidates without edge
    pixels come last, all alike. An image with fewer places than ``count`` gives them all. The
    first k of the patches are a draw of k.

    Args:
        rgb: uint8 (H, W, 3).
        settings: size and number.
        seed: of the draw.

    Raises:
        NotApplicable: an image smaller than a patch, or without a single edge.
    """
    side = settings.side
    rows, columns = grid(rgb.shape[0], rgb.shape[1], side, settings.candidates * settings.count)
    if not len(rows):
        height, width = rgb.shape[:2]
        raise NotApplicable(f"{width}x{height} pixels hold no patch of {side} pixels")
    edges = edge_counts(canny(rgb), rows, columns, side).ravel()
    if not edges.any():
        raise NotApplicable("it has no edge")
    drawn = roulette(edges, settings.count, seed)
    places = np.stack(np.divmod(drawn, len(columns)), 1)
    corners = np.stack([rows[places[:, 0]], columns[places[:, 1]]], 1)
    return Selection(corners, edges[drawn])


def grid(height: int, width: int, side: int, wanted: int) -> tuple[Ints, Ints]:
    """Rows and columns of the candidates' corners; empty for an image smaller than a patch.

    The stride is the largest that gives ``wanted`` places, the same both ways; what is left over
    at the border is shared between both ends.
    """
    spare = (height - side, width - side)
    if min(spare) < 0:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    stride, beyond = 1, max(spare) + 2  # the places get fewer with the stride: halve the interval
    while beyond - stride > 1:
        middle = (stride + beyond) // 2
        if math.prod(extent // middle + 1 for extent in spare) >= wanted:
            stride = middle
        else:
            beyond = middle
    rows, columns = (np.arange(extent % stride // 2, extent + 1, stride) for extent in spare)
    return rows, columns


def edge_counts(edges: NDArray[np.bool_], rows: Ints, columns: Ints, side: int) -> Ints:
    """Edge pixels in the patches with these corners, int64 (len(rows), len(columns)).

    An integral image, of which only the rows that bound a patch are made.
    """
    bounds = np.unique(np.concatenate([rows, rows + side]))
    strips = [edges[top:end].sum(0, dtype=np.int32) for top, end in pairwise(bounds.tolist())]
    sums = np.zeros((len(bounds), edges.shape[1] + 1), np.int64)
    np.cumsum(np.cumsum(strips, 0), 1, out=sums[1:, 1:])
    first, last = (np.searchsorted(bounds, place) for place in (rows, rows + side))
    bands = sums[last] - sums[first]
    counts: Ints = bands[:, columns + side] - bands[:, columns]
    return counts


def roulette(fitness: Ints, count: int, seed: int | list[int] = 0) -> Ints:
    """Numbers of ``count`` candidates (or all, if fewer) in the order in which they are drawn.

    Drawing by shares without putting back is the same as an alarm clock for each candidate that
    goes off after an exponential time at the rate of its fitness: the first to ring are drawn
    (Efraimidis and Spirakis 2006, doi:10.1016/j.ipl.2005.11.003).
    """
    time = np.random.default_rng(seed).standard_exponential(len(fitness))
    positive = fitness > 0
    time[positive] /= fitness[positive]
    order: Ints = np.lexsort((time, ~positive))[:count]
    return order


def cut(rgb: Rgb, corners: Ints, side: int) -> Rgb:
    """uint8 (n, side, side, 3): the patches with these corners."""
    patches = np.empty((len(corners), side, side, 3), np.uint8)
    for patch, (y, x) in zip(patches, corners.tolist(), strict=True):
        patch[:] = rgb[y : y + side, x : x + side]
    return patches


def orient(patch: Rgb, orientation: int) -> Rgb:
    """One of the `ORIENTATIONS` of a square patch (side, side, 3), as a view."""
    if not 0 <= orientation < ORIENTATIONS:
        raise ValueError(f"orientations are 0..{ORIENTATIONS - 1}, not {orientation}")
    if orientation < 4:
        return np.rot90(patch, orientation)
    return patch[:, ::-1] if orientation == 4 else patch[::-1]
