"""The linear layer of a residual network, fitted to the features that the rest of it gives."""

from __future__ import annotations

import torch
from torch.nn.functional import cross_entropy

from forensics.manipulation.network import ResidualNetwork
from forensics.train.manipulation.patches import Patches

PENALTY = 1e-4
"""Of the squared weights, which features of deviation 1 are given."""

_BATCH = 32
_ITERATIONS = 300


def fit_classifier(network: ResidualNetwork, patches: Patches) -> None:
    """Sets moments and linear layer by logistic regression on the network's features.

    Minimises mean cross-entropy + `PENALTY` · Σ w² (L-BFGS, double precision, on the CPU). With the
    rest of the network as constructed this is what the SVM is to the descriptor.
    """
    features, labels = _features(network, patches), torch.from_numpy(patches.labels)
    mean, scale = features.mean(0), features.std(0).clamp(min=1e-6)
    x = (features - mean) / scale
    weight = torch.zeros(len(network.settings.classes), x.shape[1], dtype=x.dtype)
    bias = torch.zeros(len(weight), dtype=x.dtype)
    weight.requires_grad_()
    bias.requires_grad_()
    optimizer = torch.optim.LBFGS(
        [weight, bias], max_iter=_ITERATIONS, line_search_fn="strong_wolfe"
    )

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = cross_entropy(x @ weight.mT + bias, labels) + PENALTY * weight.square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        network.feature_mean.copy_(mean)
        network.feature_scale.copy_(scale)
        network.classifier.weight.copy_(weight)
        network.classifier.bias.copy_(bias)


@torch.inference_mode()
def _features(network: ResidualNetwork, patches: Patches) -> torch.Tensor:
    device = network.head.weight.device
    parts = torch.split(torch.from_numpy(patches.pixels), _BATCH)
    return torch.cat([network.features(part.to(device)).cpu().to(torch.float64) for part in parts])
