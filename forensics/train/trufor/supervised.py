"""Phases 2 and 3: where an image is forged; how far to trust that, and whether it is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from forensics.evaluate.metrics import auc, balanced_accuracy, f1_best, f1_fixed
from forensics.train.peers import ALONE, Peers
from forensics.train.precision import autocast
from forensics.train.trufor import losses
from forensics.train.trufor.examples import Example
from forensics.train.trufor.forgery_data import CropBatch, ForgeryData
from forensics.train.trufor.losses import FORGED, IGNORED
from forensics.train.trufor.phase import Loss, Sample, device_of, means, trained_by
from forensics.train.trufor.settings import SupervisedSettings
from forensics.trufor.model import Output, TruForNetwork

T = TypeVar("T")


class SupervisedPhase(ABC, Generic[T]):
    """What phases 2 and 3 have in common; the rest of the network stays as it is, batch norm too.

    Args:
        network: trained in place, on the device it is on.
        examples: images with masks.
        settings: how.

    Raises:
        UserError: images too few.
    """

    parts: ClassVar[tuple[str, ...]]  # of the network, that are trained
    border: ClassVar[bool]  # whether pixels near the border of a mask count
    measured: ClassVar[tuple[str, ...]]  # of each validation crop

    def __init__(
        self, network: TruForNetwork, examples: Sequence[Example], settings: SupervisedSettings
    ) -> None:
        self.network = network
        self.settings = settings
        self.data = ForgeryData(examples, settings, self.border)
        network.requires_grad_(False)
        for part in self.parts:
            network.get_submodule(part).requires_grad_(True)

    @property
    def steps(self) -> int:
        """Batches per epoch."""
        return self.data.steps

    def optimizer(self) -> torch.optim.Optimizer:
        """That of the settings, of what is trained."""
        parameters, settings = trained_by(self.network), self.settings
        if settings.optimizer == "adamw":
            return torch.optim.AdamW(parameters, lr=settings.lr, weight_decay=settings.weight_decay)
        return torch.optim.SGD(
            parameters,
            lr=settings.lr,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
        )

    def train(self) -> None:
        """Frozen parts stay as they are in use."""
        self.network.eval()
        for part in self.parts:
            self.network.get_submodule(part).train()

    def batches(self, epoch: int, peers: Peers) -> Iterator[CropBatch]:
        """Of each batch of an epoch, what falls to this process."""
        return self.data.training(epoch, peers)

    def loss(self, batch: CropBatch, peers: Peers) -> Loss:
        """The sum over the crops of a batch."""
        device = device_of(self.network)
        if not len(batch.mine):
            return Loss(None, torch.zeros((), device=device), batch.size)
        total = self._losses(self._output(batch), batch).sum()
        return Loss(total, total.detach(), batch.size)

    def validate(self, peers: Peers) -> dict[str, float]:
        """Measures over the validation crops."""
        device = device_of(self.network)
        shape = len(self.data.validation_examples), len(self.measured)
        table = torch.zeros(shape, dtype=torch.float64, device=device)
        for batch in self.data.validation(peers):
            if len(batch.mine):
                rows = self._measure(self._output(batch), batch)
                table[torch.from_numpy(batch.mine).to(device)] = torch.tensor(
                    rows, dtype=torch.float64, device=device
                )
        peers.sum_([table])
        return self._summary(table.cpu().numpy())

    @torch.no_grad()
    def samples(self, count: int) -> list[Sample]:
        """The first validation crops, those of forged images before the others."""
        order = sorted(self.data.validation_examples, key=lambda e: (not e.forged, e.image_id))
        shown = {example.image_id for example in order[:count]}
        found = []
        for batch in self.data.validation(ALONE):
            names = [self.data.validation_examples[i].image_id for i in batch.mine]
            chosen = [i for i, name in enumerate(names) if name in shown]
            if chosen:
                output = self._output(batch)
                found += [self._sample(names[i], output, batch, i) for i in chosen]
        return sorted(found, key=lambda sample: [e.image_id for e in order].index(sample.title))

    def _output(self, batch: CropBatch) -> T:
        device = device_of(self.network)
        with autocast(device, self.settings.precision):
            return self._forward(batch.rgb(device))

    def _sample(self, title: str, output: T, batch: CropBatch, i: int) -> Sample:
        truth = (batch.truth[i] == FORGED).float().numpy()
        planes = {"image": batch.pixels[i].permute(1, 2, 0).numpy(), "truth": truth}
        return Sample(title, {**planes, **self._planes(output, i)})

    @abstractmethod
    def _forward(self, rgb: Tensor) -> T:
        """What the phase needs of the network."""

    @abstractmethod
    def _losses(self, output: T, batch: CropBatch) -> Tensor:
        """Of each crop, (b,)."""

    @abstractmethod
    def _planes(self, output: T, i: int) -> dict[str, NDArray[Any]]:
        """What the network makes of crop i, to look at."""

    @abstractmethod
    def _measure(self, output: T, batch: CropBatch) -> list[list[float]]:
        """What is ``measured``, for each crop."""

    @abstractmethod
    def _summary(self, table: NDArray[np.float64]) -> dict[str, float]:
        """Measures of all crops from those of each, (n, measured)."""


class LocalizationPhase(SupervisedPhase[Tensor]):
    """Phase 2 (Eq. 2): encoder and anomaly decoder. Noiseprint++ is that of phase 1.

    Measures, means over the crops that show something forged: ``f1`` at 0.5, ``f1_best`` at the
    best threshold of each crop, ``auc`` of the pixels.
    """

    parts = ("backbone", "decode_head")
    border = True
    measured = ("loss", "f1", "f1_best", "auc")

    def _forward(self, rgb: Tensor) -> Tensor:
        return self.network.localize(rgb)

    def _losses(self, output: Tensor, batch: CropBatch) -> Tensor:
        truth = batch.truth.to(output.device)
        return losses.localization(output, truth, self.settings.cross_entropy)

    def _planes(self, output: Tensor, i: int) -> dict[str, NDArray[Any]]:
        return {"map": _shown_map(output[i])}

    def _measure(self, output: Tensor, batch: CropBatch) -> list[list[float]]:
        values = self._losses(output, batch).tolist()
        maps = output.float().softmax(dim=1)[:, FORGED].cpu().numpy()
        rows = []
        for value, anomaly, truth in zip(values, maps, batch.truth.numpy(), strict=True):
            row = [value, np.nan, np.nan, np.nan]
            forged, valid = truth == FORGED, truth != IGNORED
            if forged.any():
                row[1] = f1_fixed(anomaly, forged, valid=valid)
                row[2] = f1_best(anomaly, forged, valid)
                row[3] = auc(anomaly, forged, valid)
            rows.append(row)
        return rows

    def _summary(self, table: NDArray[np.float64]) -> dict[str, float]:
        return means(dict(zip(self.measured, row, strict=True)) for row in table.tolist())


class ReliabilityPhase(SupervisedPhase[Output]):
    """Phase 3 (Eq. 7): confidence decoder and detector; all else is frozen.

    Measures: ``confidence_error``, the root of the mean squared error of the confidence over the
    pixels that count; ``auc`` and ``balanced_accuracy`` (at 0.5) of the score.
    """

    parts = ("decode_head_conf", "detection")
    border = False
    measured = ("loss", "squared_error", "score", "forged")

    def _forward(self, rgb: Tensor) -> Output:
        output: Output = self.network(rgb)
        return output

    def _planes(self, output: Output, i: int) -> dict[str, NDArray[Any]]:
        confidence = output.confidence[i, 0].float().sigmoid().cpu().numpy()
        return {"map": _shown_map(output.logits[i]), "confidence": confidence}

    def _losses(self, output: Output, batch: CropBatch) -> Tensor:
        return losses.reliability(*self._both(output, batch))

    def _both(self, output: Output, batch: CropBatch) -> tuple[Tensor, Tensor]:
        device = output.logits.device
        confidence = losses.confidence(output.confidence, output.logits, batch.truth.to(device))
        share = self.data.forged_share
        return confidence, losses.detection(output.score[:, 0], batch.forged.to(device), share)

    def _measure(self, output: Output, batch: CropBatch) -> list[list[float]]:
        confidence, detection = self._both(output, batch)
        score = output.score[:, 0].float().sigmoid()
        columns = losses.reliability(confidence, detection), confidence, score, batch.forged
        rows = zip(*(column.tolist() for column in columns), strict=True)
        return [[float(value) for value in row] for row in rows]

    def _summary(self, table: NDArray[np.float64]) -> dict[str, float]:
        loss, squared_error, score, forged = table.T
        return {
            "loss": float(loss.mean()),
            "confidence_error": float(np.sqrt(squared_error.mean())),
            "auc": auc(score, forged > 0),
            "balanced_accuracy": balanced_accuracy(score, forged > 0),
        }


def _shown_map(logits: Tensor) -> NDArray[Any]:
    """Probability of forged, float32 (H, W), from logits (2, H, W)."""
    return np.asarray(logits.float().softmax(dim=0)[FORGED].cpu().numpy())
