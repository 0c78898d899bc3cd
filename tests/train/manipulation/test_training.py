"""The training loop: where it starts, what it minimises, and that it can be interrupted."""

from __future__ import annotations

import io
import threading
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch.nn.functional import cross_entropy

from forensics.manipulation.base import NetworkSettings
from forensics.manipulation.bayar import BayarNetwork
from forensics.manipulation.network import ResidualNetwork
from forensics.records import UserError
from forensics.train.manipulation import classifier
from forensics.train.manipulation.classifier import fit_classifier
from forensics.train.manipulation.patches import Patches
from forensics.train.manipulation.training import (
    ManipulationTraining,
    TrainingSettings,
    probabilities,
)
from forensics.train.peers import Peers
from tests.manipulation.textures import blurred, texture

NETWORK = NetworkSettings(classes=("pristine", "blur-0.75"), window=32)
QUICK = TrainingSettings(epochs=3, batch=6, lr=1e-5, head_lr=1e-2)


def patches(count: int, seed: int = 0) -> Patches:
    pristine = texture(count, 32, 32, seed=seed)
    return Patches(
        np.concatenate([pristine, blurred(pristine)]),
        np.repeat(np.arange(2), count),
        np.tile(["one", "other"], count),
    )


def started() -> ResidualNetwork:
    network = ResidualNetwork(NETWORK)
    fit_classifier(network, patches(20))
    return network


def accuracy(network: ResidualNetwork, of: Patches) -> float:
    return float((probabilities(network, of).argmax(1) == of.labels).mean())


def same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_defaults_are_the_paper_s() -> None:
    settings = TrainingSettings()
    assert (settings.epochs, settings.batch) == (15, 36)
    assert (settings.lr, settings.decay) == (1e-6, 5e-4)
    assert settings.thinning == 1


def test_the_linear_layer_starts_at_the_minimum() -> None:
    learned, network = patches(20), ResidualNetwork(NETWORK)
    alone = Patches(learned.pixels, learned.labels, np.array(["one"] * 40))  # nothing to choose by
    fit_classifier(network, alone)
    features = network.features(torch.from_numpy(learned.pixels)).detach()
    standard = (features - network.feature_mean) / network.feature_scale
    assert standard.mean(0).abs().max() < 1e-3
    head = network.classifier
    loss = cross_entropy(head(standard), torch.from_numpy(learned.labels))
    (slope,) = torch.autograd.grad(loss + 1e-4 * head.weight.square().sum(), head.weight)
    assert slope.abs().max() < 2e-3


def test_it_starts_with_what_tells_other_devices_apart() -> None:
    assert accuracy(started(), patches(10, seed=1)) > 0.9


def test_the_penalty_is_the_one_that_tells_most_of_devices_left_out() -> None:
    rng = np.random.default_rng(11)
    labels, devices = rng.integers(2, size=210), np.repeat(["a", "b", "c", "d"], [20, 30, 60, 100])
    offsets = {device: rng.normal(scale=3, size=6) for device in np.unique(devices)}
    x = rng.normal(size=(210, 6)) + labels[:, None] + np.array([offsets[d] for d in devices])
    told = {}
    for penalty in classifier._PENALTIES:
        right = []
        for device in offsets:
            out = devices == device
            peer = LogisticRegression(C=1 / (penalty * (~out).sum()), tol=1e-8, max_iter=10_000)
            right.append(peer.fit(x[~out], labels[~out]).score(x[out], labels[out]))
        told[penalty] = np.mean(right)
    penalty, temperature = classifier._choice(
        torch.from_numpy(x), torch.from_numpy(labels), devices, 2
    )
    assert penalty == max(told, key=lambda choice: told[choice])  # of equals the strongest
    assert temperature > 1


def test_scores_are_only_as_sure_as_devices_left_out_allow() -> None:
    rng = np.random.default_rng(0)
    learned = patches(20)
    told = rng.permutation(learned.labels)  # nothing to learn: no score may be sure
    network, alone = ResidualNetwork(NETWORK), ResidualNetwork(NETWORK)
    fit_classifier(network, Patches(learned.pixels, told, learned.devices))
    fit_classifier(alone, Patches(learned.pixels, told, np.array(["one"] * 40)))
    new = patches(10, seed=1)
    assert np.abs(probabilities(network, new) - 0.5).max() < 0.1
    assert np.abs(probabilities(alone, new) - 0.5).max() > 0.4


def test_thinned_features_are_fitted_as_the_steps_see_them() -> None:
    thinned, learned = ResidualNetwork(NETWORK), patches(20)
    fit_classifier(thinned, learned, thinning=3, seed=4)
    y, x = np.random.default_rng(4).integers(3, size=2)
    features = thinned.features(torch.from_numpy(learned.pixels[:, y:, x:]), 3).detach()
    assert torch.allclose(features.mean(0), thinned.feature_mean, atol=1e-6)
    assert accuracy(thinned, patches(10, seed=1)) > 0.8


def test_it_learns_and_is_the_same_each_time() -> None:
    results = []
    for _ in range(2):
        network = ResidualNetwork(NETWORK)
        training = ManipulationTraining(network, patches(20), QUICK)
        losses = [epoch.train_loss for epoch in training.epochs()]
        results.append(training.finish().state_dict())
        assert losses[-1] < losses[0] < np.log(2)
        assert accuracy(network, patches(10, seed=1)) > 0.9
    assert same(*results)


@pytest.mark.parametrize("thinning", [1, 3])
def test_without_epochs_it_is_the_descriptor_with_a_linear_classifier(thinning: int) -> None:
    settings = QUICK.model_copy(update={"epochs": 0, "thinning": thinning})
    training = ManipulationTraining(ResidualNetwork(NETWORK), patches(20), settings)
    assert list(training.epochs()) == []
    assert same(training.finish().state_dict(), started().state_dict())


def test_the_linear_layer_is_fitted_again_at_the_end() -> None:
    training = ManipulationTraining(ResidualNetwork(NETWORK), patches(20), QUICK)
    list(training.epochs())
    stepped = {name: value.clone() for name, value in training.network.state_dict().items()}
    network = training.finish()
    assert isinstance(network, ResidualNetwork)
    again = ResidualNetwork(NETWORK)
    again.load_state_dict(stepped)
    assert not same(again.state_dict(), network.state_dict())
    fit_classifier(again, patches(20))
    assert same(again.state_dict(), network.state_dict())


def test_every_part_is_trained_and_rates_fall() -> None:
    network = started()
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    training = ManipulationTraining(network, patches(6), QUICK)
    rates = [epoch.lr for epoch in training.epochs()]
    assert rates == pytest.approx([1e-5 / (1 + 5e-4 * step) for step in (1, 3, 5)])
    assert all(not torch.equal(before[name], p) for name, p in network.named_parameters())


@pytest.mark.parametrize("kind", ["residual", "thinned", "bayar"])
def test_a_continued_training_gives_what_an_uninterrupted_one_gives(kind: str) -> None:
    data, settings = patches(7), QUICK.model_copy(update={"epochs": 2})
    if kind == "thinned":
        settings = settings.model_copy(update={"thinning": 2})

    def new() -> ManipulationTraining:
        if kind == "bayar":
            network: Any = BayarNetwork(NETWORK.model_copy(update={"window": 39}), seed=2)
            network.dense[1] = torch.nn.Linear(48, 16)
            network.dense[4] = torch.nn.Linear(16, 4096)
            for layer in (1, 4):
                torch.nn.init.constant_(network.dense[layer].weight, 0.01)
                torch.nn.init.zeros_(network.dense[layer].bias)
            grown = Patches(
                np.pad(data.pixels, ((0, 0), (0, 7), (0, 7))), data.labels, data.devices
            )
            return ManipulationTraining(network, grown, settings)
        return ManipulationTraining(ResidualNetwork(NETWORK), data, settings)

    whole = new()
    for _ in whole.epochs():
        pass
    first = new()
    next(first.epochs())
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    next(first.epochs())  # what comes later must not change the state that was taken
    file.seek(0)
    second = new()
    second.load_state_dict(torch.load(file, weights_only=True))
    assert [epoch.number for epoch in second.epochs()] == [2]
    assert same(second.finish().state_dict(), whole.finish().state_dict())
    assert second.history == whole.history


class Pair(Peers):
    """One of two peers that run as threads."""

    meeting = threading.Barrier(2)
    shared: ClassVar[dict[int, list[torch.Tensor]]] = {}

    def sum_(self, tensors: Any) -> None:
        mine = list(tensors)
        self.shared[self.rank] = [t.clone() for t in mine]
        self.meeting.wait()
        for ours, theirs in zip(mine, self.shared[1 - self.rank], strict=True):
            ours += theirs
        self.meeting.wait()


def test_peers_learn_what_one_process_would() -> None:
    data, settings = patches(5), QUICK.model_copy(update={"epochs": 1, "batch": 7})
    results: dict[int, dict[str, torch.Tensor]] = {}

    def train(rank: int, peers: Peers) -> None:
        training = ManipulationTraining(ResidualNetwork(NETWORK), data, settings, peers)
        list(training.epochs())
        results[rank] = training.finish().state_dict()

    threads = [threading.Thread(target=train, args=(rank, Pair(rank, 2))) for rank in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    train(2, Peers())
    assert same(results[0], results[1])
    for name, value in results[2].items():
        assert torch.allclose(results[0][name], value, rtol=1e-3, atol=1e-5), name


def test_patches_that_do_not_fit_are_refused() -> None:
    network = ResidualNetwork(NETWORK)
    data = patches(4)
    small = Patches(data.pixels[:, :20, :20], data.labels, data.devices)
    with pytest.raises(UserError, match="cannot learn from patches of shape"):
        ManipulationTraining(network, small, QUICK)
    with pytest.raises(UserError, match="labels must be"):
        ManipulationTraining(network, Patches(data.pixels, data.labels + 1, data.devices), QUICK)
    bayar = BayarNetwork(NETWORK.model_copy(update={"window": 39}))
    grown = Patches(np.zeros((8, 39, 39), np.uint8), data.labels, data.devices)
    with pytest.raises(UserError, match="thinning must be 1"):
        ManipulationTraining(bayar, grown, QUICK.model_copy(update={"thinning": 2}))
    bad = QUICK.model_copy(update={"lr": 1e30, "head_lr": 1e30})
    with pytest.raises(UserError, match="diverged in epoch"):
        list(ManipulationTraining(network, data, bad).epochs())
