"""What the networks that tell manipulations apart have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Self

from pydantic import Field, model_validator
from torch import Tensor, nn

from forensics.config import Settings
from forensics.manipulation.descriptor import SUPPORT
from forensics.manipulation.operations import CLASSES

GREEN = 1  # the channel that is judged, as in the paper
SPOILT = 0.5  # part of a patch that is black or white, from which on it is neither taken nor judged


class NetworkSettings(Settings):
    """What a network tells apart, and in patches of what size."""

    classes: tuple[str, ...] = Field(
        default=CLASSES, description="labels, the first for pristine; two make a binary task"
    )
    window: int = Field(default=128, ge=SUPPORT, description="side of a patch in pixels")

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if len(self.classes) < 2 or len(set(self.classes)) < len(self.classes):
            raise ValueError(f"classes must be two or more, all different, not {self.classes}")
        return self


class PatchNetwork(nn.Module, ABC):
    """Grey patches in, a score for every class out."""

    thins: ClassVar[bool]
    """Whether `forward` can leave places out."""

    def __init__(self, settings: NetworkSettings) -> None:
        super().__init__()
        self.settings = settings

    @abstractmethod
    def forward(self, pixels: Tensor, step: int = 1) -> Tensor:
        """float32 (B, classes) scores, whose soft-max are probabilities.

        Args:
            pixels: uint8 or float (B, H, W) grey levels 0..255, of the size that was set.
            step: only every ``step``-th place along either side is looked at. 1 where `thins` is
                False.
        """

    @property
    @abstractmethod
    def head(self) -> nn.Linear:
        """The last layer, which may learn at a rate of its own."""

    def constrain(self) -> None:
        """Weights back to where they must be; called after every step of training."""
