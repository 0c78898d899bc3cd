"""Training of an origin network: one loop for a laptop, a GPU, a cluster."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor
from torch.nn.functional import cross_entropy

from forensics.config import Settings
from forensics.origin.network import OriginNetwork, probabilities
from forensics.origin.patches import ORIENTATIONS, cut, orient
from forensics.records import UserError
from forensics.text import visible
from forensics.train.origin.images import OriginImage
from forensics.train.peers import ALONE, Peers
from forensics.train.precision import Precision, autocast

Ints = NDArray[np.int64]


class TrainingSettings(Settings):
    """How a network learns. The defaults are the paper's, sections 2.2 and 2.4."""

    epochs: int = Field(10, ge=0, description="passes over the training patches")
    batch: int = Field(128, ge=2, description="patches per step")
    lr: float = Field(1e-4, gt=0, description="learning rate of Adam")
    orientations: int = Field(
        ORIENTATIONS, ge=1, le=ORIENTATIONS,
        description="turned and flipped versions of a patch that an epoch sees, of six",
    )  # fmt: skip
    watched: int = Field(
        4, ge=0, description="patches of each image not trained on that follow the course"
    )
    precision: Precision = Field("float32", description="precision of the products in training")
    seed: int = Field(0, ge=0, description="seed of weights, order, orientations, dropout")


@dataclass(frozen=True, slots=True)
class Epoch:
    """What an epoch gave."""

    number: int  # from 1
    loss: float  # cross-entropy, mean over the epoch, while the network changed
    accuracy: float  # of training patches, while the network changed, of classes alike
    held_out_accuracy: float  # of the watched patches, of classes alike; nan if there are none
    lr: float


class OriginTraining:
    """A training that can be stopped after any epoch and continued elsewhere.

    Adam on cross-entropy in which every class weighs the same, however many images it has.
    `state_dict` holds all that continuing needs; a continued training gives what an uninterrupted
    one gives, bit for bit on a CPU. The last epoch's network is the result, as in the paper: the
    images that are watched choose nothing.

    Args:
        network: trained in place, on the device it is on.
        images: to learn from, of every class of the network.
        watched: images that follow the course, of the first `TrainingSettings.watched` patches
            each.
        settings: how.
        peers: processes that do the same with the same arguments and share every batch. Batch norm
            takes its statistics from each one's part; the running ones are averaged every epoch.

    Raises:
        UserError: a class without images, or labels beyond the classes.
    """

    def __init__(
        self,
        network: OriginNetwork,
        images: Sequence[OriginImage],
        watched: Sequence[OriginImage],
        settings: TrainingSettings,
        peers: Peers = ALONE,
    ) -> None:
        classes = network.settings.classes
        counts = np.zeros(len(classes))
        for image in images:
            if not 0 <= image.label < len(classes):
                raise UserError(f"{visible(image.image_id)}: class {image.label} of {len(classes)}")
            counts[image.label] += len(image.corners)
        if missing := [c for c, n in zip(classes, counts, strict=True) if not n]:
            raise UserError(f"there is no image to learn from of {', '.join(missing)}")
        self.network = network
        self.images = images
        self.watched = watched
        self.settings = settings
        self.peers = peers
        self.history: list[Epoch] = []
        self.examples = 0
        """Patches seen by the last epoch, in all processes."""
        self._weights = torch.tensor(counts.sum() / (len(classes) * counts), dtype=torch.float32)
        self._optimizer = torch.optim.Adam(
            [p for p in network.parameters() if p.requires_grad], lr=settings.lr, fused=True
        )

    def epochs(self) -> Iterator[Epoch]:
        """Trains; yields after every epoch that is left. The state may be taken between epochs."""
        while len(self.history) < self.settings.epochs:
            yield self._epoch(len(self.history) + 1)

    def finish(self) -> OriginNetwork:
        """The network as trained."""
        return self.network.eval()

    def state_dict(self) -> dict[str, Any]:
        """Tensors, numbers and strings alone: `torch.load` reads it with ``weights_only=True``."""
        weights = self.network.state_dict()
        return {
            "network": {name: tensor.detach().clone() for name, tensor in weights.items()},
            "optimizer": copy.deepcopy(self._optimizer.state_dict()),
            "history": [asdict(epoch) for epoch in self.history],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state of a training with the same images and settings."""
        self.network.load_state_dict(state["network"])
        self._optimizer.load_state_dict(state["optimizer"])
        self.history = [Epoch(**epoch) for epoch in state["history"]]

    def _epoch(self, number: int) -> Epoch:
        self.network.train()
        rng = np.random.default_rng([self.settings.seed, number])
        order = self._order(rng)
        totals = torch.zeros(3, dtype=torch.float64, device=self._device)
        with torch.random.fork_rng(devices=[self._device] if self._device.type == "cuda" else []):
            torch.manual_seed(int(rng.integers(2**62)) + self.peers.rank)  # dropout
            for start in range(0, len(order), self.settings.batch):
                part = order[start : start + self.settings.batch]
                if len(part) >= self.peers.count:  # each process needs one
                    totals += self._step(part)
        self.peers.sum_([totals])
        self._share_statistics()
        self.examples = len(order)
        loss, right, weight = totals.tolist()
        if not np.isfinite(loss):
            lr = self.settings.lr
            raise UserError(f"training diverged in epoch {number} at lr {lr:g}; lower lr")
        watched = self._watched_accuracy()
        self.history.append(Epoch(number, loss / weight, right / weight, watched, self.settings.lr))
        return self.history[-1]

    def _order(self, rng: np.random.Generator) -> Ints:
        """(n, 3) image, patch and orientation, of all that the epoch sees."""
        places = np.concatenate(
            [
                np.stack([np.full(len(image.corners), k), np.arange(len(image.corners))], 1)
                for k, image in enumerate(self.images)
            ]
        )
        versions = rng.permuted(np.tile(np.arange(ORIENTATIONS), (len(places), 1)), axis=1)
        versions = versions[:, : self.settings.orientations]
        order = np.column_stack(
            [np.repeat(places, self.settings.orientations, 0), versions.ravel()]
        )
        rng.shuffle(order)
        return order

    def _step(self, chosen: Ints) -> Tensor:
        """One step; of this process: sum of weighted losses, weights of right ones, weights."""
        mine = chosen[self.peers.rank :: self.peers.count]
        labels = torch.tensor([self.images[k].label for k in chosen[:, 0]])
        total = float(self._weights[labels].sum())
        own = labels[self.peers.rank :: self.peers.count].to(self._device)
        weights = self._weights.to(self._device)
        self._optimizer.zero_grad()
        with autocast(self._device, self.settings.precision):
            scores = self.network(self._cut(mine).to(self._device))
        loss = cross_entropy(scores.float(), own, weights, reduction="sum")
        (loss / total).backward()  # type: ignore[no-untyped-call]
        self.peers.sum_(p.grad for p in self.network.parameters() if p.grad is not None)
        self._optimizer.step()
        right = weights[own][scores.detach().argmax(1) == own].sum()
        return torch.stack([loss.detach(), right, weights[own].sum()]).to(torch.float64)

    def _cut(self, chosen: Ints) -> Tensor:
        """uint8 (n, side, side, 3): the patches, turned."""
        side = self.network.settings.side
        pixels = np.empty((len(chosen), side, side, 3), np.uint8)
        for patch, (k, number, orientation) in zip(pixels, chosen.tolist(), strict=True):
            image = self.images[k]
            y, x = image.corners[number]
            patch[:] = orient(image.pixels[y : y + side, x : x + side], orientation)
        return torch.from_numpy(pixels)

    def _share_statistics(self) -> None:
        if self.peers.count > 1:
            buffers = [b for b in self.network.buffers() if b.is_floating_point()]
            self.peers.sum_(buffers)
            for buffer in buffers:
                buffer /= self.peers.count

    def _watched_accuracy(self) -> float:
        """Mean over the classes that are there of the part of their patches that is right."""
        self.network.eval()
        right: dict[int, list[float]] = {}
        side, count = self.network.settings.side, self.settings.watched
        for image in self.watched if count else ():
            patches = torch.from_numpy(cut(image.pixels, image.corners[:count], side))
            found = probabilities(self.network, patches)
            hits = (found.argmax(1) == image.label).to(torch.float64)
            right.setdefault(image.label, []).extend(hits.tolist())
        return float(np.mean([np.mean(hits) for hits in right.values()])) if right else float("nan")

    @property
    def _device(self) -> torch.device:
        return self.network.classifier.weight.device
