"""Statistics of segments of any shape, added up from those of small cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch

from forensics.localize.cells import cell_pixels, cell_sums
from forensics.localize.signals import Signals
from forensics.localize.superpixels import Labels

_STRIP = 128  # rows of pixels worked on at once: the products stay in cache
_VANISHING = 1e-6  # variance over mean square that float32 cannot tell from zero


class Moments(NamedTuple):
    """Sums over every cell of what the statistics of a segment are made of."""

    sums: torch.Tensor  # float32 (10, h, w): W, Z, W², Z², WZ, four features, saturation
    cell: int  # side in pixels

    def coarser(self, cell: int) -> Moments:
        """The same in larger cells, whose side is a multiple."""
        return Moments(cell_sums(self.sums, cell // self.cell), cell)


@dataclass(frozen=True, eq=False)
class Regions:
    """The pixels behind each segment's statistics: its own, and where these are few, its surround.

    A segment has all cells that bear its label and those that ``grown_cell`` lists beside its
    number in ``grown_segment``.
    """

    label: torch.Tensor  # int64 (cells,), of every cell, row after row
    grown_segment: torch.Tensor  # int64 (n,)
    grown_cell: torch.Tensor  # int64 (n,), index into ``label``
    cell_pixels: torch.Tensor  # float64 (cells,)
    pixels: torch.Tensor  # float64 (J,), at least the number asked for if the image has it

    def sums(self, planes: torch.Tensor) -> torch.Tensor:
        """Sums over each segment: (P, h, w), one value per cell, to float64 (P, J)."""
        flat = planes.reshape(len(planes), -1)
        totals = torch.zeros(len(flat), len(self.pixels), dtype=torch.float64, device=flat.device)
        for total, plane in zip(totals, flat, strict=True):
            total.scatter_add_(0, self.label, plane.to(torch.float64))
            total.scatter_add_(0, self.grown_segment, plane[self.grown_cell].to(torch.float64))
        return totals

    def means(self, plane: torch.Tensor) -> torch.Tensor:
        """Mean over the pixels of each segment: (h, w), a mean per cell, to float64 (J,)."""
        weighted = plane.to(torch.float64) * self.cell_pixels.reshape(plane.shape)
        return self.sums(weighted[None])[0] / self.pixels


class Statistics(NamedTuple):
    """One value per segment."""

    pixels: torch.Tensor  # float64 (J,)
    side: torch.Tensor  # float64 (J,), of a square of as many pixels, rounded
    rho: torch.Tensor  # float32 (J,), normalised cross-correlation of W and Z, -1..1
    features: torch.Tensor  # float32 (J, 4), 0..1
    saturation: torch.Tensor  # float32 (J,), 0..1


def moments(signals: Signals, cell: int) -> Moments:
    """One pass over an image, in cells of ``cell`` x ``cell`` pixels."""
    features, saturation = signals.features, signals.saturation
    # About their means: small numbers keep the digits of the difference of squares.
    w_mean, z_mean = signals.W.mean(), signals.Z.mean()
    rows = max(_STRIP // cell, 1) * cell if signals.W.device.type == "cpu" else signals.height
    strips = []
    for top in range(0, signals.height, rows):
        inside = slice(top, top + rows)
        w, z = signals.W[inside] - w_mean, signals.Z[inside] - z_mean
        planes = [w, z, w * w, z * z, w * z, *features[:, inside], saturation[inside]]
        strips.append(torch.stack([cell_sums(plane, cell) for plane in planes]))
    return Moments(torch.cat(strips, dim=1), cell)


def regions(labels: Labels, min_pixels: float = 0) -> Regions:
    """What to take each segment's statistics over.

    Segments of fewer than ``min_pixels`` are dilated, cell by cell with a cross, until they have
    as many: section 3.2 of the M-SLIC paper (doi:10.1007/s11042-019-7288-y). They then overlap
    their neighbours; the labels stay.
    """
    device = labels.labels.device
    height, width = labels.labels.shape
    label = labels.labels.reshape(-1).long()
    weight = cell_pixels(labels.height, labels.width, labels.cell).to(device, torch.float64)
    weight = weight.reshape(-1)
    pixels = torch.zeros(labels.count, dtype=torch.float64, device=device)
    pixels.scatter_add_(0, label, weight)

    cell = (pixels < min_pixels)[label].nonzero()[:, 0]
    segment = label[cell]
    before = layer = torch.empty(0, dtype=torch.int64, device=device)
    grown = [layer]
    while len(cell):
        reached_segment, reached_cell = _neighbours(segment, cell, height, width)
        outside = label[reached_cell] != reached_segment
        keys = torch.unique(reached_segment[outside] * len(label) + reached_cell[outside])
        known = torch.isin(keys, torch.cat([before, layer]), assume_unique=True)
        before, layer = layer, keys[~known]
        segment, cell = layer // len(label), layer % len(label)
        pixels.scatter_add_(0, segment, weight[cell])
        grown.append(layer)
        still_small = (pixels < min_pixels)[segment]
        segment, cell = segment[still_small], cell[still_small]
    keys = torch.cat(grown)
    return Regions(label, keys // len(label), keys % len(label), weight, pixels)


def statistics(found: Moments, region: Regions) -> Statistics:
    """Of every segment; ``rho`` is 0 where W or Z does not vary."""
    n = region.pixels
    means = region.sums(found.sums) / n
    w, z, ww, zz, wz = means[:5]
    w_variance, z_variance = ww - w * w, zz - z * z
    there = (w_variance > _VANISHING * ww) & (z_variance > _VANISHING * zz)
    rho = (wz - w * z) / (w_variance * z_variance).clamp(min=0).sqrt()
    return Statistics(
        pixels=n,
        side=n.sqrt().round(),
        rho=torch.where(there, rho, 0.0).clamp(-1, 1).to(torch.float32),
        features=means[5:9].T.to(torch.float32).contiguous(),
        saturation=means[9].to(torch.float32),
    )


def _neighbours(
    segment: torch.Tensor, cell: torch.Tensor, height: int, width: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The cells above, below, left and right, each with its segment."""
    row, column = cell // width, cell % width
    inside = [row > 0, row < height - 1, column > 0, column < width - 1]
    steps = [-width, width, -1, 1]
    cells = [cell[there] + step for there, step in zip(inside, steps, strict=True)]
    return torch.cat([segment[there] for there in inside]), torch.cat(cells)
