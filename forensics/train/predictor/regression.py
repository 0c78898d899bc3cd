"""Training of a network that predicts correlations: one loop for a laptop, a GPU, or a cluster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from forensics.config import Settings
from forensics.evaluate.metrics import adjusted_r2
from forensics.prnu.blocks import FIELD_STRIDE, ImageBlocks
from forensics.records import UserError
from forensics.train.peers import ALONE, Peers
from forensics.train.precision import Precision, autocast
from forensics.train.predictor.samples import Batch, Samples

if TYPE_CHECKING:  # the package of predictors trains its own
    from forensics.prnu.predictors.network import CorrelationNetwork

_UNIT = 0.1  # of the network's scale, in which errors are squared: makes the paper's lr a good one


class TrainingSettings(Settings):
    """How a network learns. The defaults are those of the CNN-predictor paper, section 4.2."""

    epochs: int = Field(default=100, ge=1, description="passes over the training samples")
    batch: int = Field(default=64, ge=1, description="crops per step")
    crop: int | None = Field(
        default=None,
        ge=1,
        description="side of a crop, pixels; all windows in it are learned at once; empty: window",
    )
    optimizer: Literal["sgd", "adam"] = Field(default="sgd", description="sgd (paper) or adam")
    lr: float = Field(default=1e-5, gt=0, description="learning rate at the start")
    min_lr: float = Field(default=1e-7, gt=0, description="learning rate that is the lowest")
    schedule: Literal["plateau", "cosine"] = Field(
        default="plateau",
        description="plateau: a tenth when validation stalls (paper); cosine: down to min_lr",
    )
    patience: int = Field(default=2, ge=0, description="epochs without progress that plateau bears")
    momentum: float = Field(default=0.9, ge=0, lt=1, description="momentum of sgd")
    validation: float = Field(default=0.3, gt=0, lt=1, description="part kept for validation")
    split: Literal["images", "blocks"] = Field(
        default="images", description="keep whole photos for validation, or blocks (paper)"
    )
    augment: bool = Field(
        default=False, description="turn and mirror the training samples at random"
    )
    precision: Precision = Field(
        default="float32", description="precision of convolutions in training"
    )
    seed: int = Field(default=0, ge=0, description="seed of weights, split and order")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.crop is not None and self.split == "blocks":
            raise ValueError("crops share their windows' pixels: with crop, split must be images")
        if self.min_lr > self.lr:
            raise ValueError(f"min_lr {self.min_lr} is above lr {self.lr}")
        return self


@dataclass(frozen=True, slots=True)
class Epoch:
    """What an epoch gave. Errors are in units of correlation, at the gain of each photo."""

    number: int  # from 1
    train_mse: float  # mean over the epoch's steps, while the network changed
    validation_mse: float
    adjusted_r2: float  # of the validation samples, the prediction counting as one regressor
    lr: float  # that the epoch was run with


class Regression:
    """A training that can be stopped after any epoch and continued elsewhere.

    Minimises ``(gain · prediction − rho)²``, that is the squared error of ``rho / gain`` weighted
    by ``gain²``. `state_dict` holds all that continuing needs; a continued training gives what an
    uninterrupted one gives, bit for bit on a CPU.

    Args:
        network: trained in place, on the device it is on.
        images: photos with blocks of the network's window.
        settings: how.
        peers: processes that do the same with the same arguments and share every batch; they get
            the gradients that one process would.

    Raises:
        UserError: photos that cannot be trained on, or settings that do not fit the window.
    """

    def __init__(
        self,
        network: CorrelationNetwork,
        images: Sequence[ImageBlocks],
        settings: TrainingSettings,
        peers: Peers = ALONE,
    ) -> None:
        crop = network.window if settings.crop is None else settings.crop
        if crop < network.window or (crop - network.window) % FIELD_STRIDE:
            raise UserError(
                f"crops of {crop} px do not fit windows of {network.window} px: a crop is the "
                f"window plus a multiple of {FIELD_STRIDE}"
            )
        self.samples = Samples(
            images,
            crop,
            settings.split == "images",
            settings.validation,
            settings.seed,
            settings.augment,
        )
        if self.samples.window != network.window:
            raise UserError(
                f"blocks of {self.samples.window} px cannot train a network of {network.window} px"
            )
        self.network = network
        self.settings = settings
        self.peers = peers
        self.history: list[Epoch] = []
        self.examples = 0
        """Windows seen by the last epoch, in all processes."""
        self.best: Epoch | None = None
        self._best_weights: dict[str, Tensor] = {}
        offset, scale = self.samples.scale()
        network.output_offset.fill_(offset)
        network.output_scale.fill_(scale)
        self._optimizer = _optimizer(network, settings)
        self._scheduler = _scheduler(self._optimizer, settings)

    def epochs(self) -> Iterator[Epoch]:
        """Trains; yields after every epoch that is left. The state may be taken between epochs."""
        while len(self.history) < self.settings.epochs:
            yield self._epoch()

    def finish(self) -> CorrelationNetwork:
        """The network with the weights of the epoch that validated best."""
        if self._best_weights:
            self.network.load_state_dict(self._best_weights)
        return self.network.eval()

    def state_dict(self) -> dict[str, Any]:
        """Tensors, numbers and strings alone: `torch.load` reads it with ``weights_only=True``."""
        return {
            "network": _copy(self.network.state_dict()),
            "best": dict(self._best_weights),
            "optimizer": self._optimizer.state_dict(),
            "scheduler": self._scheduler.state_dict(),
            "history": [_numbers(epoch) for epoch in self.history],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state of a training with the same photos and settings."""
        self.network.load_state_dict(state["network"])
        self._best_weights = _copy(state["best"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._scheduler.load_state_dict(state["scheduler"])
        self.history = [Epoch(int(number), *rest) for number, *rest in state["history"]]
        self.best = min(self.history, key=lambda epoch: epoch.validation_mse, default=None)

    def _epoch(self) -> Epoch:
        number, lr = len(self.history) + 1, float(self._optimizer.param_groups[0]["lr"])
        train_mse = self._train(number)
        rho, predicted = self.validate()
        validation_mse = float(np.square(rho - predicted, dtype=np.float64).mean())
        if not np.isfinite(train_mse) or not np.isfinite(validation_mse):
            raise UserError(f"training diverged in epoch {number} at lr {lr:g}; lower lr")
        epoch = Epoch(number, train_mse, validation_mse, _r2(rho, predicted), lr)
        if isinstance(self._scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
            self._scheduler.step(validation_mse)
        else:
            self._scheduler.step()
        self.history.append(epoch)
        if self.best is None or validation_mse < self.best.validation_mse:
            self.best, self._best_weights = epoch, _copy(self.network.state_dict())
        return epoch

    def _train(self, number: int) -> float:
        self.network.train()
        error = torch.zeros((), dtype=torch.float64, device=self._device)
        count = torch.zeros_like(error)
        for batch in self.samples.training(number, self.settings.batch, self.peers):
            self._optimizer.zero_grad()
            squares, known = self._errors(batch)
            self.peers.sum_([known])
            loss = squares.sum() / (known.clamp(min=1) * _UNIT**2)
            loss.backward()  # type: ignore[no-untyped-call]
            self.peers.sum_(p.grad for p in self.network.parameters() if p.grad is not None)
            self._optimizer.step()
            error += squares.detach().sum()
            count += known
        self.peers.sum_([error])
        self.examples = int(count)
        return float(error / count * self.network.output_scale.square())

    def _errors(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Squared errors in units of the network's scale, and how many count."""
        predicted = self._predict(batch)
        known = batch.known.to(self._device)
        error = (predicted - batch.rho.to(self._device)) / self.network.output_scale
        return (error * known).square(), known.sum()

    def _predict(self, batch: Batch) -> Tensor:
        with autocast(self._device, self.settings.precision):
            predicted: Tensor = self.network(batch.pixels.to(self._device))
        return predicted * batch.gain.to(self._device)

    @torch.no_grad()
    def validate(self) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Measured and predicted correlations of all validation samples, float32 (n,)."""
        self.network.eval()
        pairs = []
        for batch in self.samples.validation(self.settings.batch):
            known = batch.known
            pairs.append(torch.stack([batch.rho[known], self._predict(batch).cpu()[known]]))
        rho, predicted = torch.cat(pairs, dim=1).numpy()
        return rho, predicted

    @property
    def _device(self) -> torch.device:
        return self.network.output_scale.device


def _optimizer(network: CorrelationNetwork, settings: TrainingSettings) -> torch.optim.Optimizer:
    if settings.optimizer == "sgd":
        return torch.optim.SGD(network.parameters(), lr=settings.lr, momentum=settings.momentum)
    return torch.optim.Adam(network.parameters(), lr=settings.lr)


def _scheduler(
    optimizer: torch.optim.Optimizer, settings: TrainingSettings
) -> torch.optim.lr_scheduler.LRScheduler:
    if settings.schedule == "plateau":
        return torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimizer, patience=settings.patience, min_lr=settings.min_lr
        )
    return torch.optim.lr_scheduler.CosineAnnealingLR(
        optimizer, settings.epochs, eta_min=settings.min_lr
    )


def _r2(rho: np.ndarray[Any, Any], predicted: np.ndarray[Any, Any]) -> float:
    """NaN where the samples are too few for one."""
    return adjusted_r2(rho, predicted, 1) if rho.size > 2 else float("nan")


def _numbers(epoch: Epoch) -> list[float]:
    return [epoch.number, epoch.train_mse, epoch.validation_mse, epoch.adjusted_r2, epoch.lr]


def _copy(state: dict[str, Any]) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in state.items()}
