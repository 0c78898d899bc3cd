"""The linear layer of a residual network, fitted to the features that the rest of it gives."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from torch import Tensor
from torch.nn.functional import cross_entropy

from forensics.manipulation.network import ResidualNetwork
from forensics.manipulation.selection import device_accuracy, device_folds
from forensics.train.manipulation.patches import Patches

_PENALTIES = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
"""Factors of the squared weights to choose from, for features of deviation 1."""

_ALONE = 1e-4  # the factor for patches of one device, which leave nothing to choose by
_BATCH = 32
_ITERATIONS = 300
_HOTTEST = 100.0


def fit_classifier(
    network: ResidualNetwork, patches: Patches, thinning: int = 1, seed: int = 0
) -> None:
    """Sets moments and linear layer by logistic regression on the network's features.

    Minimises mean cross-entropy + penalty · Σ w² (L-BFGS, double precision, on the CPU). With the
    rest of the network as constructed this is what the SVM is to the descriptor. The penalty is the
    one of `_PENALTIES` that tells most patches of devices left out. These are less clear than those
    learned from, so scores are then divided by the temperature that gives them the least
    cross-entropy, 1 at least (Guo et al. 2017, arXiv:1706.04599).

    Args:
        network: changed in place.
        patches: what to learn from; of one device alone, scores stay as they are.
        thinning: features of every n-th place along either side, from a place that is drawn. They
            are noisier than those of all places, and want smaller weights.
        seed: of that place.
    """
    features, labels = (
        _features(network, patches, thinning, seed),
        torch.from_numpy(patches.labels),
    )
    mean, scale = features.mean(0), features.std(0).clamp(min=1e-6)
    x, classes = (features - mean) / scale, len(network.settings.classes)
    penalty, temperature = _choice(x, labels, patches.devices, classes)
    weight, bias = _minimum(x, labels, penalty, _nothing(x, classes))
    with torch.no_grad():
        network.feature_mean.copy_(mean)
        network.feature_scale.copy_(scale)
        network.classifier.weight.copy_(weight / temperature)
        network.classifier.bias.copy_(bias / temperature)


Layer = tuple[Tensor, Tensor]
"""Weights (classes, features) and biases (classes,)."""


def _nothing(x: Tensor, classes: int) -> Layer:
    return x.new_zeros(classes, x.shape[1]), x.new_zeros(classes)


def _minimum(x: Tensor, labels: Tensor, penalty: float, start: Layer) -> Layer:
    """The logistic regression, sought from a layer."""
    weight, bias = (tensor.clone().requires_grad_() for tensor in start)
    optimizer = torch.optim.LBFGS(
        [weight, bias], max_iter=_ITERATIONS, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = cross_entropy(x @ weight.mT + bias, labels) + penalty * weight.square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    return weight.detach(), bias.detach()


def _choice(
    x: Tensor, labels: Tensor, devices: NDArray[np.str_], classes: int
) -> tuple[float, float]:
    """Penalty and temperature that suit devices left out best."""
    folds = device_folds(devices)
    if not folds:
        return _ALONE, 1.0
    layers = [_nothing(x, classes)] * len(folds)
    found: dict[float, tuple[float, Tensor]] = {}
    for penalty in _PENALTIES:  # from strong to weak, each sought from the one before
        scores = x.new_zeros(len(x), classes)
        for fold, (learned, left_out) in enumerate(folds):
            layers[fold] = _minimum(x[learned], labels[learned], penalty, layers[fold])
            weight, bias = layers[fold]
            scores[left_out] = x[left_out] @ weight.mT + bias
        told = device_accuracy(scores.argmax(1).numpy(), labels.numpy(), devices)
        found[penalty] = told, scores
    penalty = max(found, key=lambda penalty: found[penalty][0])  # of equals the strongest
    return penalty, _temperature(found[penalty][1], labels)


def _temperature(scores: Tensor, labels: Tensor) -> float:
    """What scores must be divided by to be as sure as they may be."""

    def loss(logarithm: float) -> float:
        return float(cross_entropy(scores / np.exp(logarithm), labels))

    found = minimize_scalar(loss, bounds=(0, float(np.log(_HOTTEST))), method="bounded")
    return float(np.exp(found.x)) if found.fun < loss(0) else 1.0


@torch.inference_mode()
def _features(network: ResidualNetwork, patches: Patches, thinning: int, seed: int) -> Tensor:
    device = network.head.weight.device
    y, x = np.random.default_rng(seed).integers(thinning, size=2)
    parts = torch.split(torch.from_numpy(patches.pixels[:, y:, x:]), _BATCH)
    return torch.cat(
        [network.features(part.to(device), thinning).cpu().to(torch.float64) for part in parts]
    )
