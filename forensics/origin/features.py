"""Three sets of handcrafted features for the baselines, one vector per patch."""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray
from skimage.color import rgb2hsv

from forensics.records import Rgb

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]

BINS = 7
"""Of each histogram of differences: −3 … 3."""

UNDER, OVER = (0, 5, 10, 15), (240, 245, 250, 255)
"""Grey levels at most, and at least, for a pixel to count as under- and over-exposed."""

_ORDERS = 4
_DIRECTIONS = ((0, 1), (1, 0), (1, 1), (1, -1))
_LIMIT = 2  # differences of colours are cut at ±2


def histograms(patch: Rgb) -> Floats:
    """(3, 112): per colour, 7 bins of the histograms of 16 difference images.

    After Wu, Li and Yang 2011 (doi:10.1109/ICIP.2011.6115849), who take the 7 highest bins, which
    for differences are those about 0. The 16 images are differences of order 1 to 4 along the
    rows, the columns and both diagonals. Shares of all pixels of the image.
    """
    found = np.empty((3, len(_DIRECTIONS), _ORDERS, BINS))
    half = BINS // 2
    for k, direction in enumerate(_DIRECTIONS):
        planes = patch.astype(np.int16)
        for order in range(_ORDERS):
            planes = _difference(planes, direction)
            for channel in range(3):
                values = planes[..., channel].ravel()
                near = values[np.abs(values) <= half] + half
                found[channel, k, order] = np.bincount(near, minlength=BINS) / values.size
    return found.reshape(3, -1)


def saturation(patch: Rgb) -> Floats:
    """(8,): shares of pixels with grey levels at most `UNDER` and at least `OVER`.

    After McCloskey and Albright 2018 (arXiv:1812.08247): generators normalise extremes away. Grey
    is 0.299 R + 0.587 G + 0.114 B, rounded.
    """
    grey = np.rint(patch @ np.array([0.299, 0.587, 0.114]))
    shares = [*((grey <= t).mean() for t in UNDER), *((grey >= t).mean() for t in OVER)]
    return np.array(shares)


def cooccurrence(patch: Rgb) -> Floats:
    """(588,): co-occurrences of three neighbouring differences, of colours.

    Li, Li, Tan and Huang 2020 (doi:10.1016/j.sigpro.2020.107616). Differences of a pixel to each of
    its four neighbours; for hue and saturation (times 255) and Cb and Cr, cut at ±2, 5³ bins; for
    red, green and blue together, one bit for each that is larger than its neighbour's, 8³ bins. Of
    three in a row and the same three backwards one bin is kept: 75 each and 288. Shares, added up
    over rows, columns and the four neighbours.
    """
    chroma = np.concatenate([_hue_and_saturation(patch), _cb_and_cr(patch)], 2)
    parts = [np.zeros(8**3)] + [np.zeros((2 * _LIMIT + 1) ** 3) for _ in range(4)]
    colours = patch.astype(np.int16)
    for dy, dx in ((0, 1), (0, -1), (1, 0), (-1, 0)):
        larger = _inner(colours) > _inner(colours, dy, dx)
        bits = larger[..., 0] + 2 * larger[..., 1] + 4 * larger[..., 2].astype(np.int64)
        parts[0] += _triples(bits, 8)
        difference = _inner(chroma) - _inner(chroma, dy, dx)
        cut = np.clip(difference, -_LIMIT, _LIMIT).astype(np.int64) + _LIMIT
        for k in range(4):
            parts[1 + k] += _triples(cut[..., k], 2 * _LIMIT + 1)
    return np.concatenate([_merged(counts) for counts in parts])


def _difference(planes: NDArray[np.int16], direction: tuple[int, int]) -> NDArray[np.int16]:
    dy, dx = direction
    if dx < 0:
        return planes[dy:, :dx] - planes[:-dy, -dx:]
    height, width = planes.shape[:2]
    return planes[dy:, dx:] - planes[: height - dy, : width - dx]


def _inner(planes: NDArray[np.int16], dy: int = 0, dx: int = 0) -> NDArray[np.int16]:
    """All pixels that have four neighbours, or one of those neighbours."""
    height, width = planes.shape[:2]
    return planes[1 + dy : height - 1 + dy, 1 + dx : width - 1 + dx]


def _triples(values: Whole, base: int) -> Floats:
    """Shares of three in a row along the rows, plus those along the columns, (base³,)."""
    found = np.zeros(base**3)
    for along in (values, values.T):
        code = (along[:, :-2] * base + along[:, 1:-1]) * base + along[:, 2:]
        found += np.bincount(code.ravel(), minlength=base**3) / code.size
    return found


def _merged(counts: Floats) -> Floats:
    """A triple and its reverse in one bin."""
    base = round(len(counts) ** (1 / 3))
    cube = counts.reshape(base, base, base)
    both = cube + cube.transpose(2, 1, 0)
    first = [(i, j, k) for i, j, k in product(range(base), repeat=3) if i <= k]
    return np.array([cube[t] if t[0] == t[2] else both[t] for t in first])


def _hue_and_saturation(patch: Rgb) -> NDArray[np.int16]:
    scaled: NDArray[np.float64] = np.rint(255 * rgb2hsv(patch)[..., :2])
    return scaled.astype(np.int16)


def _cb_and_cr(patch: Rgb) -> NDArray[np.int16]:
    """ITU-R 601, 16..240."""
    matrix = np.array([[-37.797, 112.0], [-74.203, -93.786], [112.0, -18.214]]) / 255
    return np.rint(128 + patch @ matrix).astype(np.int16)
