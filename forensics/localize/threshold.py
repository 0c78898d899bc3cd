"""Decision maps by a threshold and morphology (STM), and the image score that belongs to it.

Threshold, drop small regions, dilate with a disk; the score is a grey-scale area opening
(Vincent 1993, as in scikit-image).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.morphology import area_opening

TAU = 0.8
"""Default decision threshold. Tampered windows are a minority, so the odds must be 4 to 1."""

_NEIGHBOURS = np.ones((3, 3), dtype=bool)  # regions touch along corners too


def stm(
    probability: NDArray[Any],
    stride: int,
    tau: float = TAU,
    min_region_px: int = 64,
    dilation_px: int = 20,
) -> NDArray[np.bool_]:
    """Decision map: True where tampered.

    Args:
        probability: (h, w) tampering probabilities, 0..1; one per ``stride`` x ``stride`` cell.
        stride: side of a cell in pixels.
        tau: cells above this probability are tampered, 0..1.
        min_region_px: connected regions smaller than a square of this side (pixels) are dropped.
        dilation_px: the rest grows by a disk of this diameter (pixels).

    Returns:
        bool (h, w).
    """
    above = np.asarray(probability) > tau
    labels, _ = ndimage.label(above, structure=_NEIGHBOURS)
    sizes = np.bincount(labels.ravel())
    keep = sizes >= _cells(min_region_px, stride)
    keep[0] = False
    regions: NDArray[np.bool_] = keep[labels]
    disk = _disk(dilation_px / (2 * stride))
    if disk.size > 1 and regions.any():
        regions = ndimage.binary_dilation(regions, structure=disk)
    return regions


def score(probability: NDArray[Any], stride: int, min_region_px: int = 64) -> float:
    """The largest threshold below which `stm` still finds something, 0..1.

    That is the maximum of the grey-scale area opening; 0 where the whole map is smaller than the
    smallest region.
    """
    values = np.asarray(probability, dtype=np.float32)
    cells = _cells(min_region_px, stride)
    if values.size < cells:
        return 0.0
    return float(area_opening(values, area_threshold=cells, connectivity=2).max())


def _cells(side_px: int, stride: int) -> int:
    """Fewest cells that cover a square of that side."""
    return max(1, math.ceil((side_px / stride) ** 2))


def _disk(radius: float) -> NDArray[np.bool_]:
    reach = int(radius)
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disk: NDArray[np.bool_] = y**2 + x**2 <= radius**2
    return disk
