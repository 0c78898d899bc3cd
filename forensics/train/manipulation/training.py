"""Training of a network that tells manipulations apart: one loop for a laptop, a GPU, a cluster."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import cross_entropy

from forensics.config import Settings
from forensics.manipulation.base import PatchNetwork
from forensics.manipulation.network import ResidualNetwork
from forensics.records import UserError
from forensics.train.manipulation.classifier import fit_classifier
from forensics.train.manipulation.patches import Patches
from forensics.train.peers import ALONE, Peers


class TrainingSettings(Settings):
    """How a network learns. The defaults are the paper's for its own network, section 4."""

    epochs: int = Field(default=15, ge=0, description="passes over the training patches")
    batch: int = Field(default=36, ge=1, description="patches per step")
    lr: float = Field(default=1e-6, gt=0, description="learning rate of Adam at the start")
    head_lr: float = Field(
        default=1e-3, gt=0, description="learning rate of the last layer at the start"
    )
    decay: float = Field(
        default=5e-4, ge=0, description="learning rates are divided by 1 + decay · steps made"
    )
    thinning: int = Field(
        default=1,
        ge=1,
        description="a step looks at every n-th place along either side of a patch; 3 is about "
        "nine times faster (an odd n sees every phase of the JPEG grid)",
    )
    seed: int = Field(default=0, ge=0, description="seed of order and dropout")


@dataclass(frozen=True, slots=True)
class Epoch:
    """What an epoch gave."""

    number: int  # from 1
    train_loss: float  # cross-entropy, mean over the epoch, while the network changed
    lr: float  # at its end


class ManipulationTraining:
    """A training that can be stopped after any epoch and continued elsewhere.

    Cross-entropy, Adam, rates that fall as ``1 / (1 + decay · steps)``. `state_dict` holds all
    that continuing needs; a continued training gives what an uninterrupted one gives, bit for bit
    on a CPU. No epoch is preferred to the last, so that no patch need be kept for choosing.

    The linear layer of a `ResidualNetwork` is fitted before the first step, which starts from the
    descriptor with a linear classifier, and again at the end, on all places of the patches: it can
    be had exactly, while steps leave its thresholds where the last few of them happened to put
    them, and thinned features are noisier than those it will be asked about.

    Args:
        network: trained in place, on the device it is on.
        patches: of the network's window, labels below the number of its classes.
        settings: how.
        peers: processes that do the same with the same arguments and share every batch; without
            dropout they get the gradients that one process would.

    Raises:
        UserError: patches that do not fit the network, or none.
    """

    def __init__(
        self,
        network: PatchNetwork,
        patches: Patches,
        settings: TrainingSettings,
        peers: Peers = ALONE,
    ) -> None:
        window, classes = network.settings.window, len(network.settings.classes)
        if patches.pixels.shape != (len(patches), window, window) or not len(patches):
            raise UserError(
                f"a network for patches of {window} px cannot learn from patches of shape "
                f"{patches.pixels.shape}"
            )
        if not 0 <= patches.labels.min() <= patches.labels.max() < classes:
            raise UserError(f"labels must be 0..{classes - 1}, one for each of the classes")
        if settings.thinning > 1 and not network.thins:
            raise UserError("this network looks at every place of a patch: thinning must be 1")
        self.network = network
        self.patches = patches
        self.settings = settings
        self.peers = peers
        self.history: list[Epoch] = []
        self.examples = 0
        """Patches seen by the last epoch, in all processes."""
        self._steps = 0
        head = list(network.head.parameters())
        body = [p for p in network.parameters() if all(p is not h for h in head)]
        self._rates = (settings.lr, settings.head_lr)
        self._optimizer = torch.optim.Adam(
            [
                {"params": group, "lr": lr}
                for group, lr in zip((body, head), self._rates, strict=True)
            ],
            fused=True,
        )

    def epochs(self) -> Iterator[Epoch]:
        """Trains; yields after every epoch that is left. The state may be taken between epochs."""
        if not self.history and self.settings.epochs:
            self._fit_classifier(self.settings.thinning)
        while len(self.history) < self.settings.epochs:
            yield self._epoch()

    def finish(self) -> PatchNetwork:
        """The network as trained; to be called once, after the last epoch."""
        self._fit_classifier()
        return self.network.eval()

    def state_dict(self) -> dict[str, Any]:
        """Tensors, numbers and strings alone: `torch.load` reads it with ``weights_only=True``."""
        weights = self.network.state_dict()
        return {
            "network": {name: tensor.detach().clone() for name, tensor in weights.items()},
            "optimizer": copy.deepcopy(self._optimizer.state_dict()),
            "steps": self._steps,
            "history": [[epoch.number, epoch.train_loss, epoch.lr] for epoch in self.history],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state of a training with the same patches and settings."""
        self.network.load_state_dict(state["network"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._steps = int(state["steps"])
        self.history = [Epoch(int(number), *rest) for number, *rest in state["history"]]

    def _fit_classifier(self, thinning: int = 1) -> None:
        if isinstance(self.network, ResidualNetwork):
            fit_classifier(self.network, self.patches, thinning, self.settings.seed)

    def _epoch(self) -> Epoch:
        self.network.train()
        number, batch = len(self.history) + 1, self.settings.batch
        rng = np.random.default_rng([self.settings.seed, number])
        order = rng.permutation(len(self.patches))
        total = torch.zeros((), dtype=torch.float64, device=self._device)
        with torch.random.fork_rng(devices=[self._device] if self._device.type == "cuda" else []):
            torch.manual_seed(int(rng.integers(2**63)))  # dropout
            for start in range(0, len(order), batch):
                total += self._step(order[start : start + batch], rng)
        self.peers.sum_([total])
        self.examples = len(order)
        loss = float(total) / len(order)
        lr = float(self._optimizer.param_groups[0]["lr"])
        if not np.isfinite(loss):
            raise UserError(f"training diverged in epoch {number} at lr {lr:g}; lower lr")
        self.history.append(Epoch(number, loss, lr))
        return self.history[-1]

    def _step(self, chosen: np.ndarray[Any, Any], rng: np.random.Generator) -> Tensor:
        """One step; the sum of the losses of this process."""
        for group, rate in zip(self._optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate / (1 + self.settings.decay * self._steps)
        mine = chosen[self.peers.rank :: self.peers.count]
        thinning = self.settings.thinning
        y, x = rng.integers(thinning, size=2)
        pixels = torch.from_numpy(self.patches.pixels[mine, y:, x:])
        self._optimizer.zero_grad()
        scores = self.network(pixels.to(self._device), thinning)
        labels = torch.from_numpy(self.patches.labels[mine]).to(self._device)
        loss = cross_entropy(scores, labels, reduction="sum")
        (loss / len(chosen)).backward()  # type: ignore[no-untyped-call]
        self.peers.sum_(p.grad for p in self.network.parameters() if p.grad is not None)
        self._optimizer.step()
        self.network.constrain()
        self._steps += 1
        return loss.detach().to(torch.float64)

    @property
    def _device(self) -> torch.device:
        return self.network.head.weight.device


@torch.inference_mode()
def probabilities(network: PatchNetwork, patches: Patches, batch: int = 32) -> np.ndarray[Any, Any]:
    """Class probabilities float32 (n, classes) of every patch."""
    network.eval()
    device = network.head.weight.device
    parts = [
        torch.softmax(network(torch.from_numpy(part).to(device)), 1).cpu().numpy()
        for start in range(0, len(patches), batch)
        for part in [patches.pixels[start : start + batch]]
    ]
    return np.concatenate(parts)
