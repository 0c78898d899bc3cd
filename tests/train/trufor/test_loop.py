"""The loop by itself: steps, learning rate, accumulation, continuing, divergence."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from forensics.records import UserError
from forensics.train.peers import Peers
from forensics.train.trufor.contrastive import NoiseprintPhase
from forensics.train.trufor.loop import Epoch, PhaseTraining
from forensics.train.trufor.phase import Loss, Sample
from forensics.train.trufor.settings import ContrastiveSettings, PhaseSettings
from forensics.train.trufor.supervised import (
    LocalizationPhase,
    ReliabilityPhase,
    SupervisedSettings,
)
from forensics.trufor.noiseprint import Noiseprint
from tests.train.trufor.made import examples, network, photos


class Line:
    """A phase that fits y = 3x by one weight; batches of 2, 2, 2 and 1 numbers."""

    def __init__(self, settings: PhaseSettings) -> None:
        self.settings = settings
        self.network: nn.Module = nn.Linear(1, 1, bias=False)
        nn.init.zeros_(self.network.weight)  # type: ignore[arg-type]
        self.lrs: list[float] = []
        self.validation_losses: list[float] = []

    steps = 4

    def optimizer(self) -> torch.optim.Optimizer:
        phase = self

        class Watched(torch.optim.SGD):
            def step(self, closure: Any = None) -> Any:
                phase.lrs.append(self.param_groups[0]["lr"])
                return super().step(closure)

        return Watched(self.network.parameters(), lr=1.0)

    def train(self) -> None:
        self.network.train()

    def batches(self, epoch: int, peers: Peers) -> Iterator[Tensor]:
        yield from torch.arange(1.0, 8.0)[:, None].split(2)

    def loss(self, batch: Tensor, peers: Peers) -> Loss:
        total = (self.network(batch) - 3 * batch).square().sum()
        return Loss(total, total.detach(), len(batch))

    def validate(self, peers: Peers) -> dict[str, float]:
        return {"loss": self.validation_losses.pop(0)}

    def samples(self, count: int) -> list[Sample]:
        return []


def line(losses: list[float], **changes: Any) -> Line:
    phase = Line(PhaseSettings(**{"epochs": len(losses), "lr": 0.001, **changes}))
    phase.validation_losses = list(losses)
    return phase


def test_the_learning_rate_falls_polynomially_over_all_steps() -> None:
    phase = line([1.0, 0.5])
    history = list(PhaseTraining(phase).epochs())
    assert phase.lrs == pytest.approx([0.001 * (1 - k / 8) ** 0.9 for k in range(8)])
    assert [epoch.lr for epoch in history] == pytest.approx([0.001, 0.001 * 0.5**0.9])


def test_accumulated_batches_make_one_step() -> None:
    """Two batches a step: mean of their means; weights worked out by hand."""
    phase = line([1.0], accumulate=3, power=0.0)
    [epoch] = PhaseTraining(phase).epochs()
    squares = [1 + 4, 9 + 16, 25 + 36, 49.0]
    slope = 2 * (squares[0] / 2 + squares[1] / 2 + squares[2] / 2) / 3
    after = 0.001 * 3 * slope
    after += 0.001 * 2 * squares[3] * (3 - after)
    assert phase.network.weight.item() == pytest.approx(after)  # type: ignore[union-attr]
    error = 9 * sum(squares[:3]) + squares[3] * (3 - 0.001 * 3 * slope) ** 2
    assert epoch == Epoch(1, pytest.approx(error / 7), 0.001, {"loss": 1.0})


def test_the_best_epoch_s_weights_are_kept() -> None:
    phase = line([0.5, 0.2, 0.9])
    training = PhaseTraining(phase)
    weights = [phase.network.weight.item() for _ in training.epochs()]  # type: ignore[union-attr]
    assert training.best is not None
    assert training.best.number == 2
    assert training.finish().weight.item() == weights[1] != weights[2]  # type: ignore[union-attr]


def test_divergence_is_said() -> None:
    with pytest.raises(UserError, match="diverged in epoch 1 at lr 1e\\+30"):
        list(PhaseTraining(line([1.0], lr=1e30)).epochs())


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_validation_without_a_loss_ends_the_training(loss: float) -> None:
    """No epoch would be the best one."""
    with pytest.raises(UserError, match=f"diverged: the validation loss of epoch 2 is {loss}"):
        list(PhaseTraining(line([1.0, loss])).epochs())


CONTRASTIVE = ContrastiveSettings(
    epochs=3,
    steps=3,
    validation_steps=2,
    patch=16,
    crop=32,
    crops=2,
    cameras=2,
    histories=2,
    photos=2,
    lr=3e-3,
)
SUPERVISED = SupervisedSettings(epochs=3, batch=4, crop=64, lr=0.02, validation=0.25)


def training_of(kind: str) -> PhaseTraining:
    if kind == "contrastive":
        return PhaseTraining(NoiseprintPhase(Noiseprint(4, 4), photos(CONTRASTIVE), CONTRASTIVE))
    if kind == "reliability":
        return PhaseTraining(ReliabilityPhase(network(), examples(12), SUPERVISED))
    optimizer = {"optimizer": "adamw", "lr": 1e-3} if kind == "adamw" else {}
    settings = SUPERVISED.model_copy(update=optimizer)
    return PhaseTraining(LocalizationPhase(network(), examples(12), settings))


@pytest.mark.parametrize("kind", ["contrastive", "localization", "adamw", "reliability"])
def test_a_continued_training_gives_what_an_uninterrupted_one_gives(kind: str) -> None:
    torch.manual_seed(0)
    first = training_of(kind)
    start = {name: value.clone() for name, value in first.phase.network.state_dict().items()}
    assert len(list(first.epochs())) == 3

    early = training_of(kind)
    early.phase.network.load_state_dict(start)
    next(early.epochs())
    file = io.BytesIO()
    torch.save(early.state_dict(), file)
    torch.manual_seed(99)  # what is drawn elsewhere does not matter
    late = training_of(kind)
    file.seek(0)
    late.load_state_dict(torch.load(file, weights_only=True))
    assert [epoch.number for epoch in late.epochs()] == [2, 3]
    assert late.history == first.history
    assert late.best == first.best
    expected = first.finish().state_dict()
    for name, value in late.finish().state_dict().items():
        assert value.equal(expected[name]), name
