"""The three phases: each learns what it should and leaves the rest alone; shares of processes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from forensics.train.peers import Peers
from forensics.train.trufor import losses
from forensics.train.trufor.contrastive import NoiseprintPhase, _measures
from forensics.train.trufor.loop import Epoch, PhaseTraining
from forensics.train.trufor.phase import Phase, means, trained_by
from forensics.train.trufor.settings import ContrastiveSettings, SupervisedSettings
from forensics.train.trufor.supervised import LocalizationPhase, ReliabilityPhase, SupervisedPhase
from forensics.trufor.model import SCALE
from forensics.trufor.noiseprint import Noiseprint
from tests.patience import PATIENCE_SECONDS
from tests.train.test_peers import Room, Threads
from tests.train.trufor.made import examples, network, photos

SMALL = SupervisedSettings(epochs=4, batch=4, crop=64, lr=0.1, validation=0.25, augment=False)


def changed(network: nn.Module, before: dict[str, Tensor]) -> set[str]:
    """Parts of the network in which anything, statistics of batch norm included, is different."""
    after = network.state_dict()
    return {name.split(".")[0] for name in before if not after[name].equal(before[name])}


def trained(phase: Phase[Any]) -> tuple[list[Epoch], set[str]]:
    before = {name: value.clone() for name, value in phase.network.state_dict().items()}
    history = list(PhaseTraining(phase).epochs())
    return history, changed(phase.network, before)


def test_phase_1_tells_cameras_positions_and_histories_apart() -> None:
    torch.manual_seed(0)
    settings = ContrastiveSettings(
        epochs=3,
        steps=25,
        validation_steps=4,
        patch=16,
        crop=32,
        crops=3,
        cameras=3,
        histories=3,
        photos=3,
        lr=3e-3,
    )
    phase = NoiseprintPhase(Noiseprint(3, 8), photos(settings), settings)
    history, _ = trained(phase)
    first, last = history[0], history[-1]
    assert last.loss < 0.8 * first.loss
    assert last.validation["auc"] > 0.8
    assert last.validation["retrieval"] > 3 / 18
    for kind in ("camera", "position", "history"):
        assert last.validation[f"auc_{kind}"] > 0.65
    sample = phase.samples(3)[1]
    assert sample.title == "camera 1, position 1, history 1"
    assert sample.planes["patch"].shape == (16, 16, 3)
    assert sample.planes["noiseprint"].shape == (16, 16)


def test_phase_2_learns_where_and_phase_3_how_far_to_trust_it() -> None:
    images, net = examples(48, side=72), network()
    localization = LocalizationPhase(net, images, SMALL)
    history, parts = trained(localization)
    assert parts == {"backbone", "decode_head"}
    assert history[-1].loss < 0.6 * history[0].loss
    assert history[-1].validation["auc"] > 0.9
    assert history[-1].validation["f1_best"] > history[-1].validation["f1"] > 0.6

    phase = ReliabilityPhase(net, images, SMALL.model_copy(update={"lr": 0.01}))
    history, parts = trained(phase)
    assert parts == {"decode_head_conf", "detection"}
    assert history[-1].loss < history[0].loss
    assert history[-1].validation["auc"] > 0.9
    assert history[-1].validation["confidence_error"] < 0.3
    samples = phase.samples(5)
    shown = {example.image_id: example.forged for example in phase.data.validation_examples}
    assert [shown[sample.title] for sample in samples] == [True] * 5
    for sample in samples:
        assert sample.planes["image"].dtype == np.uint8
        assert sample.planes["truth"].max() == 1
        assert {plane.shape[:2] for plane in sample.planes.values()} == {(64, 64)}
        assert 0 <= sample.planes["confidence"].min() <= sample.planes["confidence"].max() <= 1


def test_validation_measures_are_those_of_the_maps() -> None:
    net = network(3).eval()
    phase = LocalizationPhase(net, examples(16), SMALL)
    with torch.no_grad():
        measures = phase.validate(Peers())
        [batch] = phase.data.validation()
        output = net(batch.pixels / SCALE)
    expected = losses.localization(output.logits, batch.truth).mean().item()
    assert measures["loss"] == pytest.approx(expected, rel=1e-5)
    maps = output.logits.softmax(dim=1)[:, 1]
    f1 = []
    for anomaly, truth in zip(maps, batch.truth, strict=True):
        if truth.any():
            called = anomaly > 0.5
            f1.append((2 * (called & (truth == 1)).sum() / (called.sum() + truth.sum())).item())
    assert len(f1) == 2
    assert measures["f1"] == pytest.approx(np.mean(f1))


def test_measures_of_distances_by_hand() -> None:
    keys = np.array([[0, 0, 0], [0, 0, 0], [1, 0, 0], [0, 0, 1], [1, 0, 1]])
    distances = np.full((5, 5), 9.0, np.float32)
    for i, j, distance in ((0, 1, 3), (0, 2, 5), (1, 2, 2), (0, 3, 4), (1, 3, 6)):
        distances[i, j] = distances[j, i] = distance
    found = _measures(distances, keys)
    assert found["auc"] == pytest.approx(8 / 9)  # of nine different pairs one is nearer
    assert found["auc_camera"] == pytest.approx(2 / 3)  # 0-2, 1-2, 3-4
    assert found["auc_history"] == pytest.approx(1)  # 0-3, 1-3, 2-4
    assert np.isnan(found["auc_position"])
    assert found["retrieval"] == pytest.approx(1 / 5)


def test_means_leave_out_what_is_undefined() -> None:
    nan = float("nan")
    found = means([{"a": 1.0, "b": nan, "c": nan}, {"a": 3.0, "b": 5.0, "c": nan}])
    assert found["a"] == 2
    assert found["b"] == 5
    assert np.isnan(found["c"])


def shares(build: Callable[[], Phase[Any]], count: int) -> tuple[Any, list[Any]]:
    """Losses, gradients and measures of one process, and of several that share its batches."""

    def work(phase: Phase[Any], peers: Peers) -> tuple[float, list[Tensor], dict[str, float]]:
        phase.network.eval()
        parameters = trained_by(phase.network)
        total = torch.zeros(())
        for batch in phase.batches(1, peers):
            loss = phase.loss(batch, peers)
            total += loss.value
            if loss.objective is not None:
                loss.objective.backward()  # type: ignore[no-untyped-call]
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        peers.sum_([total, *gradients])
        with torch.no_grad():
            return float(total), gradients, phase.validate(peers)

    room, phases = Room(count), [build() for _ in range(count)]
    found: list[Any] = [None] * count

    def take_part(rank: int) -> None:
        found[rank] = work(phases[rank], Threads(rank, count, room))

    threads = [threading.Thread(target=take_part, args=(rank,)) for rank in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=PATIENCE_SECONDS)
    return work(build(), Peers()), found


def localization() -> Phase[Any]:
    return LocalizationPhase(network(), examples(16), SMALL)


def reliability() -> Phase[Any]:
    return ReliabilityPhase(network(), examples(16), SMALL)


def contrastive() -> Phase[Any]:
    settings = ContrastiveSettings(
        steps=2, validation_steps=1, patch=16, crop=32, crops=2, cameras=2, histories=2, photos=2
    )
    torch.manual_seed(0)
    return NoiseprintPhase(Noiseprint(3, 4), photos(settings), settings)


@pytest.mark.parametrize("build", [contrastive, localization, reliability])
@pytest.mark.parametrize("count", [2, 5])  # of four crops, nothing falls to the fifth
def test_several_processes_see_what_one_sees(build: Callable[[], Phase[Any]], count: int) -> None:
    (loss, gradients, measures), others = shares(build, count)
    for other_loss, other_gradients, other_measures in others:
        assert other_loss == pytest.approx(loss, rel=1e-4)
        assert other_measures == pytest.approx(measures, rel=1e-4, nan_ok=True)
        for one, other in zip(gradients, other_gradients, strict=True):
            assert (other - one).norm() <= 1e-3 * one.norm() + 1e-3


@pytest.mark.parametrize("kind", [LocalizationPhase, ReliabilityPhase])
def test_bfloat16_is_near_float32(kind: type[SupervisedPhase]) -> None:
    found = []
    for precision in ("float32", "bfloat16"):
        settings = SMALL.model_copy(update={"precision": precision})
        phase = kind(network(), examples(16), settings)
        phase.network.eval()
        batch = next(phase.batches(1, Peers()))
        loss = phase.loss(batch, Peers())
        assert loss.value.dtype == torch.float32
        found.append(float(loss.value))
    assert found[1] == pytest.approx(found[0], rel=0.05)
    assert found[1] != found[0]
