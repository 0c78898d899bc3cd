"""A study of the origin of images (Table 1 and Fig. 5): its settings, and the cells they give.

A cell is a method, images levelled or as found, and a fold of sources to test on; the method learns
from all other sources.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Annotated, Literal

import pyarrow as pa
from pydantic import Field

from forensics.config import Settings
from forensics.evaluate.study.origin_operations import Operation
from forensics.origin.level import LevelSettings
from forensics.origin.patches import PatchSettings
from forensics.train.origin.training import TrainingSettings

Method = Literal["ada", "vgg", "histogram", "saturation", "cooccurrence"]
CNN: tuple[Method, ...] = ("ada", "vgg")
"""The methods that train a network."""

Apart = Literal["sources", "images"]
Quality = Annotated[int, Field(ge=1, le=100)]
Factor = Annotated[float, Field(gt=0, le=4)]
Alpha = Annotated[float, Field(ge=0, lt=1)]

RECORDS = pa.schema(
    [
        ("image_id", pa.string()),
        ("source", pa.string()),
        ("label", pa.string()),
        ("method", pa.string()),
        ("levelled", pa.bool_()),
        ("fold", pa.int64()),
        ("operation", pa.string()),
        ("status", pa.string()),
        ("reason", pa.string()),
        ("patches", pa.int64()),
        ("patches_right", pa.int64()),
        ("said", pa.string()),  # by most votes
        ("votes", pa.list_(pa.int64())),  # in the order of the classes
    ]
)


class OriginStudy(Settings):
    """How well the origin of images is told, by which method."""

    methods: tuple[Method, ...] = Field(
        ("ada", "histogram", "saturation", "cooccurrence"),
        min_length=1,
        description="ada, vgg (needs vgg_weights), histogram, saturation, cooccurrence",
    )
    levelled: tuple[bool, ...] = Field(
        (True, False), min_length=1, description="true: images levelled; false: as found"
    )
    folds: int = Field(5, ge=2, description="folds, each tested on once")
    apart: Apart = Field(
        "sources", description="what no two folds share: whole sources, or images (the paper)"
    )
    natural: str = Field("npi", description="the label of photographs")
    jpeg_qualities: tuple[Quality, ...] = Field((), description="robustness: JPEG qualities")
    scales: tuple[Factor, ...] = Field((), description="robustness: factors for both sides")
    turns: bool = Field(False, description="robustness: rotations and flips")
    contrasts: tuple[Alpha, ...] = Field((), description="robustness: α of contrast stretching")
    patches: PatchSettings = PatchSettings()
    test_patches: int | None = Field(None, ge=1, description="patches to test on [patches.count]")
    level: LevelSettings = LevelSettings()
    width: float = Field(1.0, gt=0, le=1, description="part of the paper's filters")
    vgg_weights: str | None = Field(None, description="URI of VGG-19's weights, for vgg")
    training: TrainingSettings = TrainingSettings()
    seed: int = Field(0, ge=0, description="seed of folds, patches and intervals")
    max_megapixels: float = Field(200.0, gt=0, description="pixels per image, before decoding")

    def cells(self) -> Iterator[Cell]:
        """All combinations, each once; what is quick comes first."""
        quick = sorted(dict.fromkeys(self.methods), key=lambda method: method in CNN)
        levels = tuple(dict.fromkeys(self.levelled))
        for method, levelled, fold in product(quick, levels, range(self.folds)):
            yield Cell(method, levelled, fold)

    def operations(self, levelled: bool) -> tuple[Operation, ...]:
        """What test images undergo; those as found undergo nothing."""
        if not levelled:
            return (Operation(),)
        turns = [Operation("rotate", a) for a in (90, 180, 270)] if self.turns else []
        flips = [Operation("flip", a) for a in (0, 1)] if self.turns else []
        return (
            Operation(),
            *(Operation("jpeg", q) for q in self.jpeg_qualities),
            *(Operation("scale", f) for f in self.scales),
            *turns,
            *flips,
            *(Operation("contrast", a) for a in self.contrasts),
        )


@dataclass(frozen=True, slots=True)
class Cell:
    """A method tested on one fold."""

    method: Method
    levelled: bool
    fold: int

    @property
    def name(self) -> str:
        """Such as ``ada_levelled_fold0``."""
        return f"{self.method}_{'levelled' if self.levelled else 'as-found'}_fold{self.fold}"
