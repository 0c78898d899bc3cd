"""What a study varies, and the variants that follow from it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from forensics.config import Settings
from forensics.localize.crf import CRFSettings
from forensics.localize.strategies import Strategy

PredictorName = Literal["lse", "ffn", "cnn", "best"]
Decision = Literal["threshold", "stm", "crf"]
Quality = Annotated[int, Field(ge=1, le=100)]
Side = Annotated[int, Field(ge=8)]

AXES = ("predictor", "strategy", "decision", "jpeg_quality", "retrained")
"""Columns that tell a variant from the others."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to judge an image; what a study does not vary is empty."""

    predictor: str
    strategy: str = ""
    decision: str = ""
    jpeg_quality: int | None = None  # recompressed at it; None: the image as it is
    retrained: bool = False  # by the predictor of that quality, else the one of mixed quality

    def words(self) -> dict[str, str]:
        """Every axis as people read it."""
        return {
            "predictor": self.predictor,
            "strategy": self.strategy,
            "decision": self.decision,
            "jpeg_quality": "as is" if self.jpeg_quality is None else f"JPEG {self.jpeg_quality}",
            "retrained": "retrained" if self.retrained else "not retrained",
        }


class StudySettings(Settings, ABC):
    """What both studies vary."""

    camera_models: str = Field(description="URI of the folder of camera models")
    predictors: tuple[PredictorName, ...] = Field(
        ("lse", "ffn", "cnn"), min_length=1, description="predictors to compare; or best"
    )
    jpeg_qualities: tuple[Quality | None, ...] = Field(
        (None,), min_length=1, description="qualities to recompress at; null is the image as it is"
    )
    retrained: tuple[bool, ...] = Field(
        (False,), min_length=1, description="true: predictors of that quality; false: of mixed one"
    )
    max_megapixels: float = Field(200.0, gt=0, description="pixels per image, before decoding")
    seed: int = Field(0, ge=0, description="seed of sampled blocks and intervals")

    @abstractmethod
    def variants(self) -> tuple[Variant, ...]:
        """All combinations of the axes, in the order of the settings, each once."""


class PredictionStudy(StudySettings):
    """How well predictors foretell the correlation of pristine blocks."""

    window: int = Field(128, ge=16, description="side of a block in pixels")
    blocks_per_image: int = Field(1000, ge=1, description="blocks at random places of each image")
    include_training: bool = Field(
        False, description="photos that the camera model was trained on as well"
    )

    def variants(self) -> tuple[Variant, ...]:
        axes = product(self.jpeg_qualities, self.retrained, self.predictors)
        return _distinct(Variant(p, jpeg_quality=q, retrained=r) for q, r, p in axes)


class LocalizationStudy(StudySettings):
    """How well forged pixels are found."""

    strategies: tuple[Strategy, ...] = Field(("sw-ss",), description="strategies to compare")
    slic_sides: tuple[Side, ...] = Field(
        (), description="single SLIC scales to compare, by the side of the window of equal area"
    )
    decisions: tuple[Decision, ...] = Field(
        ("stm", "crf"), min_length=1, description="threshold, stm, crf: from map to decision"
    )
    stride: int = Field(8, gt=0, description="side of a cell of the maps in pixels")
    crf: CRFSettings = CRFSettings()

    @model_validator(mode="after")
    def _some_strategy(self) -> Self:
        if not self.strategies and not self.slic_sides:
            raise ValueError("nothing to compare: strategies and slic_sides are both empty")
        return self

    def variants(self) -> tuple[Variant, ...]:
        axes = product(
            self.jpeg_qualities,
            self.retrained,
            self.predictors,
            (*self.strategies, *map(slic_name, self.slic_sides)),
            self.decisions,
        )
        return _distinct(Variant(p, s, d, q, r) for q, r, p, s, d in axes)


def slic_name(side: int) -> str:
    """Name of SLIC at a single scale: as many segments as windows of that side (pixels) fit."""
    return f"slic-{side}px"


def names(variants: Sequence[Variant]) -> dict[Variant, str]:
    """A name for each variant: the axes in which they differ, or the predictor if in none."""
    words = {variant: variant.words() for variant in variants}
    varied = [axis for axis in AXES if len({w[axis] for w in words.values()}) > 1]
    return {v: ", ".join(w[axis] for axis in varied or AXES[:1]) for v, w in words.items()}


def neighbours(variants: Sequence[Variant]) -> list[tuple[Variant, Variant]]:
    """Pairs that differ in one axis alone, in order: what can be compared."""
    return [(a, b) for a, b in combinations(variants, 2) if len(set(_axes(a)) ^ set(_axes(b))) == 2]


def _axes(variant: Variant) -> list[tuple[str, object]]:
    return [(axis, getattr(variant, axis)) for axis in AXES]


def _distinct(variants: Iterable[Variant]) -> tuple[Variant, ...]:
    return tuple(dict.fromkeys(variants))
