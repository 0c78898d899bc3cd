"""How each phase of TruFor's training goes."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from forensics.config import Settings
from forensics.train.precision import Precision
from forensics.train.trufor.histories import MAX_SHRINK
from forensics.train.trufor.losses import CROSS_ENTROPY_SHARE


class PhaseSettings(Settings):
    """What the phases have in common. The learning rate falls to 0 by ``(1 - step/steps)^power``,
    as the published training's does."""

    epochs: int = Field(default=100, ge=1, description="passes; each ends with a validation")
    accumulate: int = Field(default=1, ge=1, description="batches per step of the optimizer")
    lr: float = Field(default=5e-3, gt=0, description="learning rate at the start")
    power: float = Field(default=0.9, ge=0, description="power of the rate's polynomial decay")
    validation: float = Field(
        default=0.1,
        gt=0,
        lt=1,
        description="part of the images kept for validation, where the manifest names none",
    )
    precision: Precision = Field(
        default="float32", description="precision of the network's products in training"
    )
    threads: int = Field(default=2, ge=1, description="per worker, that prepare what comes next")
    seed: int = Field(default=0, ge=0, description="seed of weights, split, order, augmentation")


class ContrastiveSettings(PhaseSettings):
    """Phase 1, Noiseprint++: Adam on batches of ``cameras · positions · histories`` groups.

    A group is ``photos`` patches that share all three. The batch is the full product, so that
    every patch meets others that differ from it in one of the three alone.
    """

    lr: float = Field(default=1e-3, gt=0, description="learning rate at the start, of Adam")
    steps: int = Field(default=500, ge=1, description="batches per epoch")
    validation_steps: int = Field(default=10, ge=1, description="batches per validation")
    patch: int = Field(default=64, ge=8, description="side of a patch, pixels")
    cameras: int = Field(default=5, ge=1, description="cameras per batch")
    positions: int = Field(default=2, ge=1, description="positions per batch, of each camera")
    histories: int = Field(default=4, ge=1, le=512, description="editing histories per batch")
    photos: int = Field(default=4, ge=2, description="photos per batch, of each camera")
    crops: int = Field(default=8, ge=1, description="crops kept of each photo, to edit and cut")
    crop: int = Field(default=192, ge=8, description="side of a crop, pixels")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.crop < MAX_SHRINK * self.patch:
            raise ValueError(
                f"crop must be {MAX_SHRINK} patches at least, {MAX_SHRINK * self.patch}: editing "
                f"makes it that much smaller; it is {self.crop}"
            )
        if self.positions > self.crops:
            raise ValueError(f"{self.positions} positions need as many crops, not {self.crops}")
        return self


class SupervisedSettings(PhaseSettings):
    """Phases 2 and 3: crops of forged and pristine images.

    SGD is published, for an encoder trained on ImageNet. AdamW is what SegFormer was trained with
    (and wants a learning rate of 1e-3 or less).
    """

    batch: int = Field(default=18, ge=1, description="crops per step, of all workers together")
    crop: int = Field(default=512, ge=32, description="side of a crop, pixels")
    optimizer: Literal["sgd", "adamw"] = Field(default="sgd", description="sgd as published")
    momentum: float = Field(default=0.9, ge=0, lt=1, description="momentum of SGD")
    weight_decay: float = Field(default=5e-4, ge=0, description="weight decay of the optimizer")
    per_source: int | None = Field(
        default=None, ge=1, description="images of each data set per epoch [the smallest's number]"
    )
    augment: bool = Field(default=True, description="resize and compress at random (published)")
    cross_entropy: float = Field(
        default=CROSS_ENTROPY_SHARE,
        ge=0,
        le=1,
        description="weight of cross-entropy in phase 2's loss (Eq. 2)",
    )
    cache_gb: float = Field(default=1.0, ge=0, description="decoded images kept, per worker")
