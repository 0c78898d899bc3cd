"""The linear layer of a residual network, fitted to the features that the rest of it gives."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from sklearn.model_selection import GroupKFold
from torch import Tensor
from torch.nn.functional import cross_entropy

from forensics.manipulation.network import ResidualNetwork
from forensics.train.manipulation.patches import Patches

PENALTY = 1e-4
"""Of the squared weights, which features of deviation 1 are given."""

_BATCH = 32
_ITERATIONS = 300
_FOLDS = 8
_HOTTEST = 10.0


def fit_classifier(network: ResidualNetwork, patches: Patches) -> None:
    """Sets moments and linear layer by logistic regression on the network's features.

    Minimises mean cross-entropy + `PENALTY` · Σ w² (L-BFGS, double precision, on the CPU). With the
    rest of the network as constructed this is what the SVM is to the descriptor. Patches of new
    devices are less clear than those learned from, so scores are then divided by the temperature
    that gives devices left out the least cross-entropy, 1 at least (Guo et al. 2017,
    arXiv:1706.04599, with devices for validation); of one device alone they stay as they are.
    """
    features, labels = _features(network, patches), torch.from_numpy(patches.labels)
    mean, scale = features.mean(0), features.std(0).clamp(min=1e-6)
    x, classes = (features - mean) / scale, len(network.settings.classes)
    weight, bias = _minimum(x, labels, classes)
    temperature = _temperature(x, labels, patches.devices, classes)
    with torch.no_grad():
        network.feature_mean.copy_(mean)
        network.feature_scale.copy_(scale)
        network.classifier.weight.copy_(weight / temperature)
        network.classifier.bias.copy_(bias / temperature)


def _minimum(x: Tensor, labels: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Weights (classes, features) and biases (classes,) of the logistic regression."""
    weight = torch.zeros(classes, x.shape[1], dtype=x.dtype, requires_grad=True)
    bias = torch.zeros(classes, dtype=x.dtype, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [weight, bias], max_iter=_ITERATIONS, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = cross_entropy(x @ weight.mT + bias, labels) + PENALTY * weight.square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    return weight.detach(), bias.detach()


def _temperature(x: Tensor, labels: Tensor, devices: NDArray[np.str_], classes: int) -> float:
    """What scores of patches must be divided by to be as sure of new devices as they may be."""
    folds = min(_FOLDS, len(np.unique(devices)))
    if folds < 2:
        return 1.0
    scores = torch.zeros(len(x), classes, dtype=x.dtype)
    for learned, left_out in GroupKFold(folds).split(x, groups=devices):
        weight, bias = _minimum(x[learned], labels[learned], classes)
        scores[left_out] = x[left_out] @ weight.mT + bias

    def loss(logarithm: float) -> float:
        return float(cross_entropy(scores / np.exp(logarithm), labels))

    found = minimize_scalar(loss, bounds=(0, float(np.log(_HOTTEST))), method="bounded")
    return float(np.exp(found.x)) if found.fun < loss(0) else 1.0


@torch.inference_mode()
def _features(network: ResidualNetwork, patches: Patches) -> Tensor:
    device = network.head.weight.device
    parts = torch.split(torch.from_numpy(patches.pixels), _BATCH)
    return torch.cat([network.features(part.to(device)).cpu().to(torch.float64) for part in parts])
