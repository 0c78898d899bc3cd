"""SLIC superpixels: regions of similar colour whose borders follow those of the content.

Achanta, Shaji, Smith, Lucchi, Fua, Süsstrunk 2012, doi:10.1109/TPAMI.2012.120, as in scikit-image.
Large images are segmented in cells of a few pixels, and the labels belong to these cells.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.color import rgb2lab
from skimage.segmentation import slic

from forensics.localize.cells import cell_pixels, cell_sums, cells_at

MAX_CELLS = 2_000_000
"""No image is segmented in more cells than this."""

_ENOUGH_CELLS = 100_000  # beyond, cells are doubled where that costs no precision
_SIDE_CELLS = 8  # fewest cells along the side of a superpixel
_COMPACTNESS = 10.0  # the authors' weight of distance against colour (CIELAB units)
_STIFFER = (1, 4, 16, 64)  # times that, where noise breaks up superpixels and most are merged
_ROUNDS = 10  # of k-means, the authors' number; fewer follow the content less well


@dataclass(frozen=True, eq=False)
class Labels:
    """Which superpixel each cell belongs to."""

    labels: torch.Tensor  # int32 (ceil(height/cell), ceil(width/cell)), each of 0..count-1 occurs
    cell: int  # side in pixels
    count: int
    height: int  # of the image in pixels
    width: int

    def at(self, stride: int) -> torch.Tensor:
        """Superpixel at the centre of every cell of a map: int64; stride 1 gives every pixel."""
        rows, columns = (
            cells_at(size, stride, self.cell).to(self.labels.device)
            for size in (self.height, self.width)
        )
        return self.labels[rows[:, None], columns].long()


def segment_counts(height: int, width: int, sides: Sequence[int]) -> list[int]:
    """How many superpixels are as large as squares of the given sides (pixels).

    ``J = round(height·width / side²)``, at least 1: equation 13 of the M-SLIC paper
    (doi:10.1007/s11042-019-7288-y).
    """
    return [max(1, round(height * width / side**2)) for side in sides]


def superpixels(rgb: torch.Tensor, count: int) -> Labels:
    """About ``count`` superpixels of an image; see `superpixel_scales`."""
    return superpixel_scales(rgb, [count])[0]


def superpixel_scales(rgb: torch.Tensor, counts: Sequence[int]) -> list[Labels]:
    """One segmentation for each number of superpixels, as many at once as torch has threads.

    Args:
        rgb: uint8 (H, W, 3).
        counts: superpixels wanted, at least 1 each; SLIC merges those that come out tiny, so there
            are often a fifth fewer.

    Returns:
        A `Labels` for each, on the device of ``rgb``. Cells are the smallest that make no more
        than `MAX_CELLS`; they are doubled where fewer serve as well.

    Raises:
        ValueError: no (H, W, 3) pixels, or a count below 1.
    """
    if rgb.ndim != 3 or rgb.shape[2] != 3 or 0 in rgb.shape:
        raise ValueError(f"superpixels need (H, W, 3) pixels, got shape {tuple(rgb.shape)}")
    if any(count < 1 for count in counts):
        raise ValueError(f"numbers of superpixels must be at least 1, got {list(counts)}")
    height, width = rgb.shape[:2]
    sides = [_cell(height, width, count) for count in counts]
    colours = {cell: _lab(rgb, cell) for cell in set(sides)}

    def segment(cell: int, count: int) -> Labels:
        found = _slic(colours[cell], count)
        labels = torch.from_numpy(found).to(rgb.device)
        return Labels(labels, cell, int(found.max()) + 1, height, width)

    with ThreadPoolExecutor(torch.get_num_threads()) as threads:
        return list(threads.map(segment, sides, counts))


def _cell(height: int, width: int, count: int) -> int:
    """Side of a cell in pixels."""

    def cells(side: int) -> int:
        return math.ceil(height / side) * math.ceil(width / side)

    cell = max(1, math.isqrt(height * width // MAX_CELLS))
    while cells(cell) > MAX_CELLS:
        cell += 1
    while cells(cell) > _ENOUGH_CELLS and height * width / count >= (2 * cell * _SIDE_CELLS) ** 2:
        cell *= 2
    return cell


def _lab(rgb: torch.Tensor, cell: int) -> NDArray[np.float32]:
    """Mean colour of every cell in CIELAB: (h, w, 3)."""
    pixels = cell_pixels(rgb.shape[0], rgb.shape[1], cell).to(rgb.device)
    means = cell_sums(rgb, cell, (0, 1)).to(torch.float32).div_(255 * pixels[..., None])
    lab: NDArray[np.float32] = rgb2lab(means.cpu().numpy()).astype(np.float32, copy=False)
    return lab


def _slic(lab: NDArray[np.float32], count: int) -> NDArray[np.int32]:
    """Labels 0..J-1 without gaps."""
    if count == 1 or lab.shape[0] * lab.shape[1] == 1:
        return np.zeros(lab.shape[:2], np.int32)
    # scikit-image stretches its input to 0..1; the weight of distance has to follow.
    compactness = _COMPACTNESS / (float(lab.max() - lab.min()) or 1.0)
    for factor in _STIFFER:
        labels = slic(
            lab,
            n_segments=count,
            compactness=factor * compactness,
            max_num_iter=_ROUNDS,
            convert2lab=False,
            start_label=0,
            channel_axis=-1,
        )
        if 2 * (int(labels.max()) + 1) >= count:
            break
    used = np.bincount(labels.ravel()) > 0
    gapless: NDArray[np.int32] = (np.cumsum(used, dtype=np.int32) - 1)[labels]
    return gapless
