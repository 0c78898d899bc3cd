"""Crops of forged and pristine images for phases 2 and 3, data sets in equal parts.

Every epoch draws the same number of images from each data set (the manifest's ``source``). Which
ones, where they are cut and how they are augmented follows from the seed, the epoch and the place
in it alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from forensics.evaluate.metrics import away_from_border
from forensics.records import UserError
from forensics.train.peers import ALONE, Peers
from forensics.train.trufor.augment import PADDING, Augmentation, Crop, cut
from forensics.train.trufor.examples import Cache, Example
from forensics.train.trufor.losses import FORGED, IGNORED
from forensics.train.trufor.prefetch import prefetched
from forensics.train.trufor.settings import SupervisedSettings
from forensics.trufor.model import SCALE

_TRAINING, _VALIDATION, _SPLIT, _SHARE = 1, 2, 3, 4  # streams of random numbers
_FORGED_PIXELS = 3  # as published: a crop that shows no more counts as pristine
_SHARE_CROPS = 512  # drawn to estimate how many crops of forged images show the forgery


@dataclass(frozen=True, slots=True)
class CropBatch:
    """This process's part of a batch, b crops."""

    pixels: Tensor  # uint8 (b, 3, side, side)
    truth: Tensor  # uint8 (b, side, side): PRISTINE, FORGED or IGNORED
    forged: Tensor  # bool (b,): whether the crop shows a forgery
    inside: Tensor  # bool (b, side, side): no padding
    mine: NDArray[np.int64]  # (b,) places among all crops of the epoch
    size: int  # crops of the batch in all processes

    def rgb(self, device: torch.device) -> Tensor:
        """float32 (b, 3, side, side) as the network wants it, the padding grey."""
        pixels = self.pixels.to(device).float()
        inside = self.inside.to(device)[:, None]
        return pixels.where(inside, PADDING) / SCALE


class ForgeryData:
    """Training and validation crops from images with masks.

    Args:
        examples: the images. Those with split "validation" are kept for validation; where there
            are none, a part of each data set is, image by image.
        settings: how.
        border: whether pixels near the border of a mask count; they are the least certain.

    Raises:
        UserError: too few images, or none forged.
    """

    def __init__(
        self, examples: Sequence[Example], settings: SupervisedSettings, border: bool = True
    ) -> None:
        self._settings = settings
        self._border = border
        self._cache = Cache(settings.cache_gb)
        ordered = sorted(examples, key=lambda example: example.image_id)
        self._training, self._validation = _split(ordered, settings)
        for side, members in (("training", self._training), ("validation", self._validation)):
            if not any(example.forged for example in members):
                raise UserError(
                    f"{len(ordered)} images, {sum(e.forged for e in ordered)} of them forged: none "
                    f"of these is for {side}; forged images for training and for validation are "
                    "needed"
                )
        self._sources: dict[str, list[Example]] = {}
        for example in self._training:
            self._sources.setdefault(example.source, []).append(example)
        smallest = min(map(len, self._sources.values()))
        self._each = settings.per_source or smallest

    @property
    def validation_examples(self) -> tuple[Example, ...]:
        """The images that are not trained on, in the order of their crops."""
        return tuple(self._validation)

    @cached_property
    def forged_share(self) -> float:
        """Expected part of the crops of an epoch that show a forgery.

        Estimated from crops of forged images drawn as an epoch draws them, always the same; this
        reads up to `_SHARE_CROPS` images. Of a large image most crops may miss what is forged.
        """
        sets = sorted(self._sources.items())
        forged = {source: [e for e in members if e.forged] for source, members in sets}
        each = -(-_SHARE_CROPS // sum(map(bool, forged.values())))
        return float(
            np.mean(
                [
                    len(forged[source]) / len(members) * self._shown(number, forged[source], each)
                    for number, (source, members) in enumerate(sets)
                ]
            )
        )

    def _shown(self, number: int, examples: Sequence[Example], count: int) -> float:
        """Part of the crops of these images, of the data set of that number, that show a forgery;
        0 where there are no images."""
        seed = [self._settings.seed, _SHARE, number]
        drawn = [examples[i] for i in _draw(len(examples), count, np.random.default_rng(seed))]
        make = partial(self._crop, drawn, seed, self._settings.augment)
        crops = prefetched(make, range(len(drawn)), self._settings.threads)
        return sum(_shows_forgery(crop) for crop in crops) / max(len(drawn), 1)

    @property
    def steps(self) -> int:
        """Batches per epoch."""
        return -(-self._each * len(self._sources) // self._settings.batch)

    def training(self, epoch: int, peers: Peers = ALONE) -> Iterator[CropBatch]:
        """The batches of an epoch, of each what falls to this one of the ``peers``."""
        rng = np.random.default_rng([self._settings.seed, _TRAINING, epoch])
        drawn = [
            members[i]
            for _, members in sorted(self._sources.items())
            for i in _draw(len(members), self._each, rng)
        ]
        order = [drawn[i] for i in rng.permutation(len(drawn))]
        seed = [self._settings.seed, _TRAINING, epoch]
        yield from self._batches(order, seed, self._settings.augment, peers)

    def validation(self, peers: Peers = ALONE) -> Iterator[CropBatch]:
        """One crop, always the same and not augmented, of each image kept for validation."""
        seed = [self._settings.seed, _VALIDATION]
        yield from self._batches(self._validation, seed, False, peers)

    def _batches(
        self, examples: Sequence[Example], seed: list[int], augment: bool, peers: Peers
    ) -> Iterator[CropBatch]:
        size = self._settings.batch
        mine = [
            place
            for start in range(0, len(examples), size)
            for place in range(start, min(start + size, len(examples)))[peers.rank :: peers.count]
        ]
        make = partial(self._crop, examples, seed, augment)
        crops = prefetched(make, mine, self._settings.threads)
        for start in range(0, len(examples), size):
            places = range(start, min(start + size, len(examples)))
            own = places[peers.rank :: peers.count]
            yield self._batch([next(crops) for _ in own], np.array(own, np.int64), len(places))

    def _crop(
        self, examples: Sequence[Example], seed: list[int], augment: bool, place: int
    ) -> Crop:
        rng = np.random.default_rng([*seed, place])
        rgb, mask = self._cache.read(examples[place])
        augmentation = Augmentation.draw(rng) if augment else Augmentation()
        return cut(rgb, mask, self._settings.crop, augmentation, rng)

    def _batch(self, crops: list[Crop], mine: NDArray[np.int64], size: int) -> CropBatch:
        side = self._settings.crop
        pixels = np.zeros((len(crops), side, side, 3), np.uint8)
        truth = np.full((len(crops), side, side), IGNORED, np.uint8)
        inside = np.zeros(truth.shape, np.bool_)
        forged = np.zeros(len(crops), np.bool_)
        for i, crop in enumerate(crops):
            part = slice(0, crop.height), slice(0, crop.width)
            pixels[i], truth[i], inside[i][part] = crop.pixels, crop.truth, True
            forged[i] = _shows_forgery(crop)
            if not self._border:
                mask = crop.truth[part] == FORGED
                truth[i][part][~away_from_border(mask)] = IGNORED
        return CropBatch(
            pixels=torch.from_numpy(pixels).movedim(-1, 1),
            truth=torch.from_numpy(truth),
            forged=torch.from_numpy(forged),
            inside=torch.from_numpy(inside),
            mine=mine,
            size=size,
        )


def _shows_forgery(crop: Crop) -> bool:
    return int((crop.truth == FORGED).sum()) > _FORGED_PIXELS


def _split(
    examples: list[Example], settings: SupervisedSettings
) -> tuple[list[Example], list[Example]]:
    """Training and validation images."""
    held_out = [e for e in examples if e.split == "validation"]
    if held_out:
        return [e for e in examples if e.split != "validation"], held_out
    rng = np.random.default_rng([settings.seed, _SPLIT])
    for kind in sorted({(e.source, e.forged) for e in examples}):
        members = [e for e in examples if (e.source, e.forged) == kind]
        count = round(settings.validation * len(members)) or int(len(members) > 1)
        held_out += [members[i] for i in rng.permutation(len(members))[:count]]
    kept = {e.image_id for e in held_out}
    held_out.sort(key=lambda example: example.image_id)
    return [e for e in examples if e.image_id not in kept], held_out


def _draw(count: int, wanted: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """So many of the numbers below ``count``, none twice before all were drawn; none of none."""
    rounds = [rng.permutation(count) for _ in range(-(-wanted // max(count, 1)))]
    return np.concatenate(rounds)[: wanted if count else 0]
