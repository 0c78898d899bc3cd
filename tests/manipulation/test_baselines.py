"""The SVM on the descriptor, and the network of Bayar and Stamm."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from forensics.manipulation.base import NetworkSettings
from forensics.manipulation.bayar import BayarNetwork
from forensics.manipulation.descriptor import frequencies, srm_histogram
from forensics.manipulation.svm import COSTS, ResidualSVM
from forensics.records import UserError
from tests.manipulation.textures import blurred, texture

PRISTINE = texture(36, 40, 40)
PATCHES = np.concatenate([PRISTINE, blurred(PRISTINE), 255 - PRISTINE[:, ::2].repeat(2, 1)])
LABELS = np.repeat(np.arange(3), 36)
GROUPS = np.tile(np.arange(36) % 3, 3)


def test_two_classes_are_told_apart() -> None:
    seen = (LABELS < 2) & (GROUPS < 2)
    svm = ResidualSVM().fit(PATCHES[seen], LABELS[seen], GROUPS[seen])
    unseen = (LABELS < 2) & (GROUPS == 2)
    assert (svm.predict(PATCHES[unseen]) == LABELS[unseen]).mean() > 0.9
    assert svm.decision(srm_histogram(PATCHES[unseen])).shape == (24, 1)


def test_it_is_the_svm_of_scikit_learn_on_standardised_features() -> None:
    svm = ResidualSVM().fit(PATCHES, LABELS, GROUPS)
    features = frequencies(srm_histogram(PATCHES))
    scaler = StandardScaler().fit(features)
    reference = LinearSVC(C=svm.cost, dual=False).fit(scaler.transform(features), LABELS)
    expected = reference.decision_function(scaler.transform(features))
    assert np.allclose(svm.decision(srm_histogram(PATCHES)), expected, atol=0.02)
    assert np.array_equal(svm.predict(PATCHES), reference.predict(scaler.transform(features)))


def test_dense_distances_are_those_of_the_windows() -> None:
    svm = ResidualSVM().fit(PATCHES, LABELS, GROUPS)
    plane = texture(60, 70)
    dense = svm.predict_dense(plane, 40, 8)
    window = plane[8:48, 16:56]
    assert np.allclose(dense[1, 2], svm.decision(srm_histogram(window)), atol=1e-5)


def test_the_cost_is_the_one_that_tells_most_of_devices_left_out() -> None:
    rng = np.random.default_rng(2)
    labels = rng.integers(2, size=len(PATCHES))
    svm = ResidualSVM().fit(PATCHES, labels, GROUPS)
    features, told = frequencies(srm_histogram(PATCHES)), {}
    for cost in COSTS:
        right = []
        for device in range(3):
            out = device == GROUPS
            scaler = StandardScaler().fit(features[~out])
            peer = LinearSVC(C=cost, dual=False).fit(scaler.transform(features[~out]), labels[~out])
            right.append(peer.score(scaler.transform(features[out]), labels[out]))
        told[cost] = np.mean(right)
    assert len(set(told.values())) > 1
    assert svm.cost == max(COSTS, key=lambda cost: told[cost])


def test_an_svm_needs_classes_groups_and_fitting() -> None:
    with pytest.raises(UserError, match="two classes and two devices"):
        ResidualSVM().fit(PATCHES, 0 * LABELS, GROUPS)
    with pytest.raises(ValueError, match="not been fitted"):
        ResidualSVM().predict(PATCHES)


def test_the_first_layer_is_brought_back_to_its_constraint() -> None:
    """By scaling where a step moved it a little, by a shift where it is far away."""
    network = BayarNetwork(NetworkSettings(window=39), seed=1)
    start = network.residuals.weight.detach().clone()
    for step, scaled in ((1e-3, True), (-0.1, False)):
        with torch.no_grad():
            network.residuals.weight.copy_(start)
            network.residuals.weight += step * torch.arange(25.0).reshape(5, 5) / 24
        moved = network.residuals.weight.detach().clone()
        network.constrain()
        weight = network.residuals.weight.detach()
        assert (weight[:, 0, 2, 2] == -1).all()
        assert torch.allclose(weight.sum((1, 2, 3)), torch.zeros(12), atol=1e-5)
        change = (weight / moved if scaled else weight - moved)[:, 0].flatten(1)
        others = change[:, torch.arange(25) != 12]
        assert torch.allclose(others, others[:, :1].expand(-1, 24), atol=1e-5)


def test_no_first_weight_is_large_whatever_the_seed() -> None:
    network = BayarNetwork(NetworkSettings(window=39))
    assert network.residuals.weight.abs().max() == 1  # the centres
    with torch.random.fork_rng():
        for seed in range(300):
            torch.manual_seed(seed)
            network.residuals.reset_parameters()
            network.constrain()
            weight = network.residuals.weight.detach()[:, 0].flatten(1)
            assert weight[:, torch.arange(25) != 12].abs().max() < 0.5
            assert torch.allclose(weight.sum(1), torch.zeros(12), atol=1e-5)


def test_plain_patches_of_any_grey_are_alike_to_it() -> None:
    network = BayarNetwork(NetworkSettings(window=64)).eval()
    plain = torch.stack([torch.full((64, 64), float(grey)) for grey in (0, 90, 255)])
    with torch.no_grad():
        residuals = network.residuals(plain[:, None] / 255)
        scores = network(plain)
    assert residuals.abs().max() < 1e-5
    assert scores.shape == (3, 16)
    assert torch.allclose(scores[0], scores[2], atol=1e-4)


def test_the_published_shape_and_the_seed() -> None:
    before = torch.random.get_rng_state()
    network, again, other = (BayarNetwork(NetworkSettings(window=39), seed) for seed in (3, 3, 4))
    assert torch.equal(before, torch.random.get_rng_state())
    assert torch.equal(network.classifier.weight, again.classifier.weight)
    assert not torch.equal(network.classifier.weight, other.classifier.weight)
    assert [tuple(p.shape) for p in network.parameters() if p.ndim > 1] == [
        (12, 1, 5, 5), (64, 12, 7, 7), (48, 64, 5, 5), (4096, 48), (4096, 4096), (16, 4096),
    ]  # fmt: skip
    with pytest.raises(UserError, match="too small"):
        BayarNetwork(NetworkSettings(window=38))
