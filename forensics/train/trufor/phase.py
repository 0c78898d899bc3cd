"""What a phase of the training is to the loop that runs it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from forensics.train.peers import Peers
from forensics.train.trufor.settings import PhaseSettings

B = TypeVar("B")


@dataclass(frozen=True, slots=True)
class Loss:
    """Of a batch that several processes share."""

    objective: Tensor | None
    """A scalar. Its gradients, summed over the processes, are those of the whole batch's sum; None
    where nothing of the batch fell to this process."""
    value: Tensor
    """A scalar without gradient; summed over the processes it is the whole batch's sum."""
    size: int
    """What the sum is over, in all processes together."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What the network makes of an image that it was not trained on, to look at."""

    title: str
    planes: dict[str, NDArray[Any]]
    """Pictures of one size by what they show: uint8 (H, W, 3), or float32 (H, W)."""


class Phase(Protocol, Generic[B]):
    """A network, what it learns from, and how well it does."""

    @property
    def settings(self) -> PhaseSettings:
        """How it goes."""

    @property
    def network(self) -> nn.Module:
        """What is trained, in place."""

    @property
    def steps(self) -> int:
        """Batches per epoch."""

    def optimizer(self) -> torch.optim.Optimizer:
        """A new one for what the phase trains."""

    def train(self) -> None:
        """Put every part of the network into the mode that it trains in."""

    def batches(self, epoch: int, peers: Peers) -> Iterator[B]:
        """Of each batch of an epoch, what falls to this process."""

    def loss(self, batch: B, peers: Peers) -> Loss:
        """The phase's loss of a batch."""

    def validate(self, peers: Peers) -> dict[str, float]:
        """Measures on what is not trained on, ``loss`` among them; nan where undefined."""

    def samples(self, count: int) -> list[Sample]:
        """A few of the images that are not trained on."""


def device_of(network: nn.Module) -> torch.device:
    """Where the network is."""
    return next(network.parameters()).device


def trained_by(network: nn.Module) -> list[nn.Parameter]:
    """The parameters that are not frozen."""
    return [parameter for parameter in network.parameters() if parameter.requires_grad]


def means(rows: Iterable[dict[str, float]]) -> dict[str, float]:
    """Mean of each measure over the rows in which it is defined; nan where it never is."""
    table: dict[str, list[float]] = {}
    for row in rows:
        for name, value in row.items():
            table.setdefault(name, []).append(value)
    defined = {name: [v for v in values if not np.isnan(v)] for name, values in table.items()}
    return {name: float(np.mean(v)) if v else float("nan") for name, v in defined.items()}
