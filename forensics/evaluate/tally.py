"""Exact pixel measures of a map whose cells are larger than a pixel.

A map is constant within a cell, so how many forged and pristine pixels carry each of its values is
all that a measure needs. The numbers are those that ``metrics`` gives for the map repeated to the
size of the image, at the cost of the cells.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from forensics.evaluate.curves import f1_of_counts
from forensics.evaluate.metrics import Confusion

Counts = NDArray[np.int64]


class Tally(NamedTuple):
    """Pixels per distinct value of a map; three arrays of shape (n,)."""

    values: NDArray[Any]  # ascending
    forged: Counts
    pristine: Counts

    def confusion(self, threshold: float) -> Confusion:
        """Counts of ``value > threshold`` against the truth, as ``metrics.confusion``."""
        above = self.values > threshold
        tp, fp = int(self.forged[above].sum()), int(self.pristine[above].sum())
        return Confusion(
            tp=tp,
            fp=fp,
            fn=int(self.forged.sum()) - tp,
            tn=int(self.pristine.sum()) - fp,
        )

    def auc(self) -> float:
        """Area under the pixel ROC, ties 1/2; nan where a class is absent."""
        forged, pristine = int(self.forged.sum()), int(self.pristine.sum())
        if not forged or not pristine:
            return float("nan")
        up_to = np.cumsum(self.pristine)
        below_twice = 2 * up_to - self.pristine  # half of the ties count as below
        return int((self.forged * below_twice).sum()) / (2.0 * forged * pristine)

    def f1_best(self) -> tuple[float, float]:
        """Highest F1 of ``value > t`` over all t, and the highest such t among the map's values.

        ``t`` is -inf where calling every pixel is best.
        """
        tp, fp = _at_or_above(self.forged), _at_or_above(self.pristine)
        f1 = f1_of_counts(tp, fp, int(self.forged.sum()))
        last = len(f1) - 1 - int(np.argmax(f1[::-1]))
        return float(f1[last]), float(self.values[last - 1]) if last else float("-inf")

    def f1_curve(self, thresholds: ArrayLike) -> NDArray[np.float64]:
        """F1 of ``value > t`` for every t, float64, shape of ``thresholds``."""
        cuts = np.asarray(thresholds).astype(self.values.dtype)
        first = np.searchsorted(self.values, cuts, side="right")
        tp = np.append(_at_or_above(self.forged), 0)[first]
        fp = np.append(_at_or_above(self.pristine), 0)[first]
        return f1_of_counts(tp, fp, int(self.forged.sum()))


def tally(values: NDArray[Any], forged: Counts, pristine: Counts) -> Tally:
    """Sum up the cells that have the same value.

    ``values``: map of shape (h, w), without nan. ``forged``, ``pristine``: pixels of each cell, of
    the same shape (see ``cell_counts``). A cell without counted pixels does not take part.
    """
    if not values.shape == forged.shape == pristine.shape:
        raise ValueError(
            f"map of shape {values.shape} with counts of {forged.shape} and {pristine.shape}"
        )
    counted = forged + pristine > 0
    distinct, where = np.unique(values[counted], return_inverse=True)
    sums = [
        np.bincount(where, weights=part[counted], minlength=distinct.size).astype(np.int64)
        for part in (forged, pristine)  # exact: float64 counts to 2**53
    ]
    return Tally(distinct, *sums)


def cell_counts(pixels: NDArray[np.bool_], stride: int) -> Counts:
    """True pixels in each ``stride`` x ``stride`` cell; (H, W) -> (ceil(H/stride), ceil(W/stride)).

    Cells at the right and lower edge may be cut off, as in `records.Map`.
    """
    if stride == 1:
        return pixels.astype(np.int64)
    height, width = pixels.shape
    rows = np.add.reduceat(pixels, np.arange(0, height, stride), axis=0, dtype=np.int64)
    return np.add.reduceat(rows, np.arange(0, width, stride), axis=1)


def cell_areas(height: int, width: int, stride: int) -> Counts:
    """Pixels of each cell of a map of an image of that size; those at the edges may be smaller."""
    sides = [np.diff(np.append(np.arange(0, side, stride), side)) for side in (height, width)]
    return np.outer(*sides).astype(np.int64)


def _at_or_above(counts: Counts) -> Counts:
    return np.cumsum(counts[::-1])[::-1]
