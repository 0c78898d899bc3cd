"""The first layer's filters: how much they vary, and what they look like."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Weights = NDArray[np.float32]

CHANNELS = ("red", "green", "blue")


def channel_variances(weights: Weights) -> NDArray[np.float64]:
    """Variance of the weights of each channel, (3,), of (filters, 3, k, k): the paper's Table 2."""
    variances: NDArray[np.float64] = weights.astype(np.float64).var(axis=(0, 2, 3))
    return variances


def mosaic(weights: Weights, channel: int) -> Weights:
    """The filters of a channel side by side, as Fig. 6 has them: rows of eight, nan between.

    Args:
        weights: (filters, 3, k, k).
        channel: 0 red, 1 green, 2 blue.
    """
    count, _, side, _ = weights.shape
    columns = min(8, count)
    rows = math.ceil(count / columns)
    sheet = np.full((rows * (side + 1) - 1, columns * (side + 1) - 1), np.nan, np.float32)
    for k in range(count):
        y, x = (side + 1) * (k // columns), (side + 1) * (k % columns)
        sheet[y : y + side, x : x + side] = weights[k, channel]
    return sheet
