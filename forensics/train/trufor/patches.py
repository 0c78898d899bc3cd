"""Patches that Noiseprint++ learns from, by camera, position and editing history (section 3.1).

Of each photo a few crops are kept, at places that all photos of a camera have in common; a batch
edits some of them and cuts its patches. What epoch e sees follows from the seed and e alone.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from forensics.records import NotApplicable, Rgb, UserError
from forensics.train.peers import ALONE, Peers
from forensics.train.trufor.histories import HISTORIES, history
from forensics.train.trufor.prefetch import prefetched
from forensics.train.trufor.settings import ContrastiveSettings

_TRAINING, _VALIDATION, _SPLIT = 1, 2, 3  # streams of random numbers


@dataclass(frozen=True, slots=True)
class PhotoCrops:
    """Crops of one photo, at the places that all photos of its sensor grid are cut at."""

    image_id: str
    grid: str  # camera and size: photos of one grid have comparable positions
    crops: NDArray[np.uint8]  # (n, crop, crop, 3)


@dataclass(frozen=True, slots=True)
class PatchBatch:
    """Patches, and what each of them is an example of."""

    pixels: Tensor  # uint8 (b, 3, patch, patch): this process's part of the batch
    mine: NDArray[np.int64]  # (b,) places of that part among all patches of the batch
    keys: NDArray[np.int64]  # (B, 3) camera, position and history of all, numbered from 0

    @property
    def groups(self) -> Tensor:
        """int64 (B,), equal where camera, position and history are."""
        return torch.from_numpy(np.unique(self.keys, axis=0, return_inverse=True)[1])


@dataclass(frozen=True, slots=True)
class _Patch:
    """Where a patch comes from: numbers of the grid's photo and crop, its edits, its corner."""

    grid: str
    photo: int
    crop: int
    history: int
    corner: tuple[int, int]


def cut_crops(image_id: str, camera_id: str, rgb: Rgb, settings: ContrastiveSettings) -> PhotoCrops:
    """The crops of one photo. Raises `NotApplicable` where it is smaller than a crop."""
    height, width = rgb.shape[:2]
    side = settings.crop
    if min(height, width) < side:
        raise NotApplicable(f"has {width}x{height} px, smaller than a crop of {side} px")
    name = zlib.crc32(camera_id.encode())
    rng = np.random.default_rng([settings.seed, name, height, width])
    rows = rng.integers(height - side + 1, size=settings.crops)
    columns = rng.integers(width - side + 1, size=settings.crops)
    crops = [rgb[y : y + side, x : x + side] for y, x in zip(rows, columns, strict=True)]
    return PhotoCrops(image_id, f"{camera_id} {width}x{height}", np.stack(crops))


class Patches:
    """Batches from photos; a part of each camera's photos is kept for validation.

    A sensor grid with fewer than two photos for training has no positives and is left out, as is
    one with fewer than two for validation there. Grids of two or three photos only train.

    Raises:
        UserError: photos too few to train and to validate.
    """

    def __init__(self, photos: Sequence[PhotoCrops], settings: ContrastiveSettings) -> None:
        self._settings = settings
        self._training: dict[str, list[PhotoCrops]] = {}
        self._validation: dict[str, list[PhotoCrops]] = {}
        by_grid: dict[str, list[PhotoCrops]] = {}
        for photo in sorted(photos, key=lambda photo: photo.image_id):
            by_grid.setdefault(photo.grid, []).append(photo)
        rng = np.random.default_rng([settings.seed, _SPLIT])
        for grid, members in sorted(by_grid.items()):
            order = rng.permutation(len(members))
            kept = 0
            if len(members) >= 4:
                kept = min(max(round(settings.validation * len(members)), 2), len(members) - 2)
            if len(members) - kept >= 2:
                self._training[grid] = [members[i] for i in order[kept:]]
            if kept:
                self._validation[grid] = [members[i] for i in order[:kept]]
        if not self._validation:
            most = max(map(len, by_grid.values()), default=0)
            raise UserError(
                "Noiseprint++ learns from photos of one camera and one size that differ in what "
                f"they show: four of a camera at least; the best has {most}. Give more photos with "
                "camera_id (models will do)"
            )

    def training(self, epoch: int, peers: Peers = ALONE) -> Iterator[PatchBatch]:
        """The batches of an epoch, of each what falls to this one of the ``peers``."""
        seed = [self._settings.seed, _TRAINING, epoch]
        yield from self._batches(self._training, seed, self._settings.steps, peers)

    def validation(self, peers: Peers = ALONE) -> Iterator[PatchBatch]:
        """Batches of the photos kept, always the same."""
        seed = [self._settings.seed, _VALIDATION]
        yield from self._batches(self._validation, seed, self._settings.validation_steps, peers)

    def _batches(
        self, photos: dict[str, list[PhotoCrops]], seed: list[int], steps: int, peers: Peers
    ) -> Iterator[PatchBatch]:
        def make(step: int) -> PatchBatch:
            patches, keys = self._plan(photos, np.random.default_rng([*seed, step]))
            mine = np.arange(peers.rank, len(patches), peers.count)
            pixels = [self._cut(photos[patches[i].grid], patches[i]) for i in mine]
            shape = (0, self._settings.patch, self._settings.patch, 3)
            stacked = np.stack(pixels) if pixels else np.empty(shape, np.uint8)
            return PatchBatch(torch.from_numpy(stacked).movedim(-1, 1), mine, keys)

        yield from prefetched(make, range(steps), self._settings.threads)

    def _plan(
        self, photos: dict[str, list[PhotoCrops]], rng: np.random.Generator
    ) -> tuple[list[_Patch], NDArray[np.int64]]:
        settings = self._settings
        grids = sorted(photos)
        chosen = rng.permutation(len(grids))[: settings.cameras]
        numbers = [int(n) for n in rng.choice(HISTORIES, settings.histories, replace=False)]
        smallest = min(history(n, settings.seed).side(settings.crop) for n in numbers)
        corners = rng.integers(smallest - settings.patch + 1, size=(settings.positions, 2))
        patches, keys = [], []
        for camera, grid in enumerate(grids[i] for i in chosen):
            members = rng.permutation(len(photos[grid]))[: settings.photos]
            crops = rng.permutation(settings.crops)[: settings.positions]
            for position, (crop, (y, x)) in enumerate(zip(crops, corners, strict=True)):
                for edit, number in enumerate(numbers):
                    for photo in members:
                        place = int(y), int(x)
                        patches.append(_Patch(grid, int(photo), int(crop), number, place))
                        keys.append((camera, position, edit))
        return patches, np.array(keys, np.int64)

    def _cut(self, photos: list[PhotoCrops], patch: _Patch) -> NDArray[np.uint8]:
        crop = photos[patch.photo].crops[patch.crop]
        edited = history(patch.history, self._settings.seed).apply(crop)
        y, x = patch.corner
        return edited[y : y + self._settings.patch, x : x + self._settings.patch]
