"""From maps to one score: statistics of the anomaly map, weighted by the confidence."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

STATISTICS = 4


def weighted_statistics(x: Tensor, log_weights: Tensor | None = None) -> Tensor:
    """Minimum, maximum, mean and mean square over the last dimension, (N, L) to (N, 4).

    Minimum and maximum are the smooth ones, ∓log Σ w·exp(∓x). The weights are the softmax of
    ``log_weights`` (N, L), or equal.
    """
    if log_weights is None:
        log_weights = torch.zeros_like(x)
    log_w = log_weights.log_softmax(dim=-1)
    w = log_w.exp()
    smallest = -torch.logsumexp(log_w - x, dim=-1)
    largest = torch.logsumexp(log_w + x, dim=-1)
    weighted = w * x
    return torch.stack([smallest, largest, weighted.sum(-1), (weighted * x).sum(-1)], dim=-1)


class ForgeryDetector(nn.Sequential):
    """The score's logit from eight statistics."""

    def __init__(self, hidden: int) -> None:
        super().__init__(
            nn.Linear(2 * STATISTICS, hidden), nn.ReLU(), nn.Dropout(0.5), nn.Linear(hidden, 1)
        )


def statistics(logits: Tensor, confidence: Tensor) -> Tensor:
    """(N, 8): statistics of the confidence logits, then those of the anomaly they weight.

    ``logits`` (N, 2, H, W), pristine and forged; ``confidence`` (N, 1, H, W) logits.
    """
    sure = confidence.flatten(1)
    anomaly = (logits[:, 1] - logits[:, 0]).flatten(1)
    return torch.cat(
        [weighted_statistics(sure), weighted_statistics(anomaly, logsigmoid(sure))], dim=-1
    )
