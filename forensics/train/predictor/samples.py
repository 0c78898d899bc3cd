"""Which windows of which photos a regression learns from, and in what order.

The crops of an epoch follow from the seed and the number of the epoch alone, so that a training
which is resumed sees what it would have seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from forensics.prnu.blocks import FIELD_STRIDE, ImageBlocks
from forensics.prnu.saturation import SATURATED
from forensics.records import UserError
from forensics.text import visible
from forensics.train.peers import ALONE, Peers

Table = NDArray[np.int64]
"""Crops (n, 5): image, row and column of the corner, number of the block (-1: its field), and
orientation 0..7: quarter turns, plus 4 where mirrored before."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Crops and what their windows should give, n windows along each axis."""

    pixels: Tensor  # uint8 (B, 3, crop, crop)
    rho: Tensor  # float32 (B, n, n); 0 where not known
    known: Tensor  # bool (B, n, n); neither undefined nor saturated
    gain: Tensor  # float32 (B, 1, 1)


class Samples:
    """Training and validation samples from photos; saturated windows are in neither.

    Args:
        images: photos with blocks of one window; their order does not matter. Those with one
            identifier are one photo, seen at several JPEG qualities.
        crop: side of a crop in pixels. The window's own takes the blocks of the photos; a larger
            one takes every window of their fields that lies in it.
        by_images: keep whole photos for validation, which tells how the network does on photos it
            has not seen; else single blocks, whose neighbours it has seen. Fields are always split
            by photos.
        validation: part kept for validation, 0..1.
        seed: of the split, of the order and of the orientations.
        augment: turn and mirror the training samples at random.

    Raises:
        UserError: photos too few, too small, or without a field where one is needed.
    """

    def __init__(
        self,
        images: Sequence[ImageBlocks],
        crop: int,
        by_images: bool,
        validation: float,
        seed: int,
        augment: bool = False,
    ) -> None:
        if len({image.window for image in images}) != 1:
            raise UserError("training needs photos with blocks, all of one window size")
        self.images = sorted(images, key=lambda image: image.image_id)
        self.window = self.images[0].window
        self.crop = crop
        self._seed = seed
        self._augment = augment
        self._fields = crop > self.window
        for image in self.images:
            self._check(image)
        table = self._blocks()
        by_images = by_images or self._fields
        _, photos = np.unique([image.image_id for image in self.images], return_inverse=True)
        unit = photos[table[:, 0]] if by_images else np.arange(len(table))
        units = np.unique(unit)
        if len(units) < 2:
            kind = "photos" if by_images else "blocks"
            raise UserError(
                f"{len(units)} {kind} with unsaturated windows of {self.window} px are too few to "
                "train and validate a predictor; give more pristine photos"
            )
        count = min(max(round(validation * len(units)), 1), len(units) - 1)
        kept = np.sort(np.random.default_rng([seed, 0]).permutation(units)[:count])
        held_out = np.isin(unit, kept)
        self._seen, self._held_out = table[~held_out], table[held_out]

    @property
    def held_out_images(self) -> frozenset[str]:
        """Identifiers of the photos that validation samples come from."""
        return frozenset(self.images[i].image_id for i in self._held_out[:, 0])

    def scale(self) -> tuple[float, float]:
        """Mean and standard deviation of the correlations in training photos, at a gain of 1."""
        products = squares = energy = 0.0
        for image in (self.images[i] for i in np.unique(self._seen[:, 0])):
            rho = image.rho[_usable(image.rho, image.saturation)].astype(np.float64)
            products += image.gain * float(rho.sum())
            squares += float(np.square(rho).sum())
            energy += image.gain**2 * len(rho)
        mean = products / energy
        variance = max(squares / energy - mean**2, 0.0)
        return mean, variance**0.5 or 1.0

    def held_out_blocks(self) -> Iterator[tuple[ImageBlocks, Table]]:
        """Photos with validation samples, and the numbers of their usable blocks that are not
        trained on."""
        for number in np.unique(self._held_out[:, 0]):
            image = self.images[number]
            blocks = self._held_out[self._held_out[:, 0] == number, 3]
            if self._fields:
                blocks = np.flatnonzero(_usable(image.rho, image.saturation))
            yield image, blocks

    def training(self, epoch: int, size: int, peers: Peers = ALONE) -> Iterator[Batch]:
        """Batches of an epoch in random order: every block once; of fields, crops that cover every
        photo about once, from a corner that differs from epoch to epoch. Of each batch only what
        falls to this one of the ``peers``."""
        rng = np.random.default_rng([self._seed, 1, epoch])
        crops = rng.permutation(self._tiled(self._seen, rng) if self._fields else self._seen)
        if self._augment:
            crops[:, 4] = rng.integers(8, size=len(crops))
        yield from self._batches(crops, size, peers)

    def validation(self, size: int) -> Iterator[Batch]:
        """Batches of the validation samples, always the same."""
        crops = self._tiled(self._held_out, None) if self._fields else self._held_out
        yield from self._batches(crops, size)

    def _check(self, image: ImageBlocks) -> None:
        if self._fields and image.field is None:
            raise UserError(
                f"{visible(image.image_id)} has no field of correlations; crops larger than the "
                f"window of {self.window} px need one"
            )
        if min(image.pixels.shape[:2]) < self.crop:
            height, width = image.pixels.shape[:2]
            raise UserError(
                f"{visible(image.image_id)} has {width}x{height} px, too small for crops of "
                f"{self.crop} px"
            )

    def _blocks(self) -> Table:
        """All blocks that can be learned from; one line per photo for fields."""
        lines = []
        for number, image in enumerate(self.images):
            blocks = np.flatnonzero(_usable(image.rho, image.saturation))
            if self._fields:
                if len(blocks):
                    lines.append(np.array([[number, 0, 0, -1, 0]]))
                continue
            places = image.positions[blocks].T
            lines.append(np.column_stack([0 * blocks + number, *places, blocks, 0 * blocks]))
        return np.concatenate(lines or [np.empty((0, 5))]).astype(np.int64)

    def _tiled(self, photos: Table, rng: np.random.Generator | None) -> Table:
        """Crops side by side in each photo, from its corner or from a random one."""
        lines = []
        for number in photos[:, 0]:
            axes = []
            for size in self.images[number].pixels.shape[:2]:
                spare = (size - self.crop) // FIELD_STRIDE
                most = min(spare, self.crop // FIELD_STRIDE - 1)
                first = int(rng.integers(most + 1)) if rng is not None else 0
                axes.append(np.arange(first * FIELD_STRIDE, size - self.crop + 1, self.crop))
            rows, columns = (a.ravel() for a in np.meshgrid(*axes, indexing="ij"))
            zero = np.zeros_like(rows)
            lines.append(np.column_stack([zero + number, rows, columns, zero - 1, zero]))
        return np.concatenate(lines)

    def _batches(self, crops: Table, size: int, peers: Peers = ALONE) -> Iterator[Batch]:
        for start in range(0, len(crops), size):
            yield self._batch(crops[start : start + size][peers.rank :: peers.count])

    def _batch(self, crops: Table) -> Batch:
        along = (self.crop - self.window) // FIELD_STRIDE + 1
        pixels = np.empty((len(crops), self.crop, self.crop, 3), np.uint8)
        rho = np.zeros((len(crops), along, along), np.float32)
        known = np.zeros(rho.shape, np.bool_)
        for i, (number, row, column, block, orientation) in enumerate(crops.tolist()):
            image = self.images[number]
            crop = image.pixels[row : row + self.crop, column : column + self.crop]
            pixels[i] = _turned(crop, orientation)
            if block >= 0:
                values, saturation = image.rho[[[block]]], image.saturation[[[block]]]
            else:
                top, left = row // FIELD_STRIDE, column // FIELD_STRIDE
                part = slice(top, top + along), slice(left, left + along)
                field, saturated = image.field, image.field_saturation
                if field is None or saturated is None:
                    raise ValueError(f"{image.image_id} has no field")
                values, saturation = field[part], saturated[part]
            known[i] = _turned(_usable(values, saturation), orientation)
            rho[i] = np.where(known[i], _turned(values, orientation), np.float32(0))
        gain = np.array([self.images[number].gain for number in crops[:, 0]], np.float32)
        return Batch(
            pixels=torch.from_numpy(pixels).movedim(-1, 1),
            rho=torch.from_numpy(rho),
            known=torch.from_numpy(known),
            gain=torch.from_numpy(gain)[:, None, None],
        )


def _turned(square: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Mirrored from 4 on, then turned by as many quarters as are left. Windows at every
    `FIELD_STRIDE` of a crop that is turned are windows at every `FIELD_STRIDE` of the turned one.
    """
    return np.rot90(square[:, ::-1] if orientation >= 4 else square, orientation % 4)


def _usable(rho: NDArray[np.float32], saturation: NDArray[np.float32]) -> NDArray[np.bool_]:
    return np.isfinite(rho) & (saturation < SATURATED)
