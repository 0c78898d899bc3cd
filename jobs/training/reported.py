"""What the epochs of a training reported; a module that a process imports without torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Epoch = Mapping[str, Any]
"""What an epoch reported; ``number`` counts from 1."""


class Reported:
    """The epochs so far, between a training's controller and the driver; runs as an actor."""

    def __init__(self) -> None:
        self._epochs: list[Epoch] = []

    def add(self, epoch: Epoch) -> None:
        self._epochs.append(epoch)

    def since(self, count: int) -> list[Epoch]:
        return self._epochs[count:]
