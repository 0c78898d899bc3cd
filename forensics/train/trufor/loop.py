"""The loop that trains any phase of TruFor: on a laptop, a GPU, or a cluster."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from forensics.records import UserError
from forensics.train.peers import ALONE, Peers
from forensics.train.trufor.phase import Phase, device_of, trained_by


@dataclass(frozen=True, slots=True)
class Epoch:
    """What an epoch gave."""

    number: int  # from 1
    loss: float  # mean over the epoch's steps, while the network changed
    lr: float  # that the epoch began with
    validation: dict[str, float] = field(default_factory=dict)


class PhaseTraining:
    """A training that can be stopped after any epoch and continued elsewhere.

    `state_dict` holds all that continuing needs; a continued training gives what an uninterrupted
    one gives, bit for bit on a CPU. Batch norm takes its statistics from each process's part of a
    batch; the running ones are averaged after every epoch.

    Args:
        phase: what is trained, on the device that its network is on.
        peers: processes that do the same with the same phase and share every batch.
    """

    def __init__(self, phase: Phase[Any], peers: Peers = ALONE) -> None:
        self.phase = phase
        self.peers = peers
        self.history: list[Epoch] = []
        self.examples = 0
        """Patches or crops seen by the last epoch, in all processes."""
        self.best: Epoch | None = None
        self._best_weights: dict[str, Tensor] = {}
        self._optimizer = phase.optimizer()
        self._parameters = trained_by(phase.network)

    def epochs(self) -> Iterator[Epoch]:
        """Trains; yields after every epoch that is left. The state may be taken between epochs."""
        while len(self.history) < self.phase.settings.epochs:
            yield self._epoch(len(self.history) + 1)

    def finish(self) -> nn.Module:
        """The network with the weights of the epoch whose validation loss was lowest."""
        if self._best_weights:
            self.phase.network.load_state_dict(self._best_weights)
        return self.phase.network.eval()

    def state_dict(self) -> dict[str, Any]:
        """Tensors, numbers and strings alone: `torch.load` reads it with ``weights_only=True``."""
        return {
            "network": _copy(self.phase.network),
            "best": dict(self._best_weights),
            "optimizer": self._optimizer.state_dict(),
            "history": [asdict(epoch) for epoch in self.history],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state of a training of the same phase, data and settings."""
        self.phase.network.load_state_dict(state["network"])
        self._best_weights = dict(state["best"])
        self._optimizer.load_state_dict(state["optimizer"])
        self.history = [Epoch(**epoch) for epoch in state["history"]]
        self.best = min(self.history, key=lambda epoch: epoch.validation["loss"], default=None)

    def _epoch(self, number: int) -> Epoch:
        lr = self._set_lr((number - 1) * self._updates)
        device = device_of(self.phase.network)
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(self._seed(number))
            self.phase.train()
            loss = self._train(number)
        if not np.isfinite(loss) or not all(p.isfinite().all() for p in self._parameters):
            raise UserError(f"training diverged in epoch {number} at lr {lr:g}; lower lr")
        self._share_statistics()
        self.phase.network.eval()
        with torch.no_grad():
            validation = self.phase.validate(self.peers)
        if not np.isfinite(validation["loss"]):
            raise UserError(
                f"training diverged: the validation loss of epoch {number} is "
                f"{validation['loss']}; lower lr"
            )
        epoch = Epoch(number, loss, lr, validation)
        self.history.append(epoch)
        if self.best is None or validation["loss"] < self.best.validation["loss"]:
            self.best, self._best_weights = epoch, _copy(self.phase.network)
        return epoch

    def _train(self, number: int) -> float:
        batches = self.phase.batches(number, self.peers)
        total = torch.zeros((), dtype=torch.float64, device=device_of(self.phase.network))
        count = 0
        for update in range(self._updates):
            self._set_lr((number - 1) * self._updates + update)
            self._optimizer.zero_grad()
            together = min(self._accumulate, self.phase.steps - update * self._accumulate)
            for batch in islice(batches, together):
                loss = self.phase.loss(batch, self.peers)
                if loss.objective is not None:
                    mean = loss.objective / (loss.size * together)
                    mean.backward()  # type: ignore[no-untyped-call]
                total += loss.value
                count += loss.size
            for parameter in self._parameters:
                if parameter.grad is None:  # the others have one to add
                    parameter.grad = torch.zeros_like(parameter)
            self.peers.sum_(p.grad for p in self._parameters if p.grad is not None)
            self._optimizer.step()
        self.peers.sum_([total])
        self.examples = count
        return float(total / count)

    def _set_lr(self, update: int) -> float:
        """The learning rate of an update, counted from the first of the training."""
        settings = self.phase.settings
        left = 1 - update / (settings.epochs * self._updates)
        lr: float = settings.lr * left**settings.power
        for group in self._optimizer.param_groups:
            group["lr"] = lr
        return lr

    def _share_statistics(self) -> None:
        buffers = [b for b in self.phase.network.buffers() if b.is_floating_point()]
        self.peers.sum_(buffers)
        for buffer in buffers:
            buffer /= self.peers.count

    def _seed(self, number: int) -> int:
        """Of what is drawn while training, such as dropout."""
        sequence = np.random.SeedSequence([self.phase.settings.seed, number, self.peers.rank])
        return int(sequence.generate_state(1)[0])

    @property
    def _accumulate(self) -> int:
        return self.phase.settings.accumulate

    @property
    def _updates(self) -> int:
        """Steps of the optimizer per epoch."""
        return -(-self.phase.steps // self._accumulate)


def _copy(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
