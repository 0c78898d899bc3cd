"""Between a plain training loop and Ray Train: report every epoch, continue from a checkpoint."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import ray.train
import torch
from ray.train import Checkpoint

from forensics.records import UserError
from forensics.train.peers import Peers

_STATE = "state.pt"


class Resumable(Protocol):
    """A training whose state is tensors, numbers and strings."""

    def state_dict(self) -> dict[str, Any]:
        """All that continuing needs."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from there."""


class Training(Resumable, Protocol):
    """A training that goes by epochs."""

    @property
    def examples(self) -> int:
        """Seen by the last epoch, in all processes."""

    def epochs(self) -> Iterator[Any]:
        """Trains; gives every epoch that is left, a record of its numbers."""


def answer(
    train: Callable[[dict[str, Any], Peers], dict[str, Any]], config: dict[str, Any]
) -> dict[str, Any] | None:
    """What ``train`` returns, on the first worker; its ``error`` for what it refuses as
    `UserError`: trying again would be no use."""
    peers = Peers.of_process_group()
    try:
        result = train(config, peers)
    except UserError as error:
        result = {"error": str(error)}
    return result if peers.rank == 0 else None


def run_epochs(
    training: Training, peers: Peers, numbers: Callable[[Any], dict[str, Any]] = asdict
) -> None:
    """Train to the last epoch, from the last checkpoint of this run if there is one.

    ``numbers`` says what an epoch reports; its ``seconds`` and ``examples_per_second`` are added.
    """
    resume(training)
    start = time.perf_counter()
    for epoch in training.epochs():
        seconds = time.perf_counter() - start
        pace = {"seconds": seconds, "examples_per_second": training.examples / seconds}
        report({**numbers(epoch), **pace}, training, peers)
        start = time.perf_counter()


def resume(training: Resumable) -> None:
    """Continue from the last checkpoint of this run, if there is one."""
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is not None:
        with checkpoint.as_directory() as folder:
            state = torch.load(Path(folder) / _STATE, map_location="cpu", weights_only=True)
        training.load_state_dict(state)


def report(metrics: dict[str, Any], training: Resumable, peers: Peers) -> None:
    """Say what an epoch gave; the first worker keeps the state with it. All workers call it."""
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = None
        if peers.rank == 0:
            torch.save(training.state_dict(), Path(folder) / _STATE)
            checkpoint = Checkpoint.from_directory(folder)
        ray.train.report(metrics, checkpoint=checkpoint)
