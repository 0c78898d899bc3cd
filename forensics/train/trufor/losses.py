"""The losses of TruFor's three phases (Guillaro et al., CVPR 2023), Eq. 1, 2, 3, 6 and 7.

All but the contrastive loss give one value per image, as the paper defines them, so that a batch
may be split over processes or steps: its loss is the mean over its images. Computed in float32
whatever the precision of what comes in. ``truth`` is uint8 (N, H, W): `PRISTINE`, `FORGED`, or
`IGNORED` where nothing is learned.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

PRISTINE, FORGED, IGNORED = 0, 1, 255

CROSS_ENTROPY_SHARE = 0.3  # λ_ce of Eq. 2
CLASS_WEIGHTS = (0.5, 2.5)  # γ_0, γ_1 of Eq. 3
DETECTION_SHARE = 0.5  # λ_det of Eq. 7

_SMOOTH = 1.0  # in both parts of the Dice ratio: a pristine image has one, too


def squared_distances(residuals: Tensor) -> Tensor:
    """Squared Euclidean distances s(i, j) between residual patches; (B, ...) -> (B, B)."""
    flat = residuals.flatten(1).float()
    flat = flat - flat.detach().mean(dim=0)  # distances stay, and what cancels below is smaller
    energy = flat.square().sum(dim=1)
    distances = energy[:, None] + energy[None, :] - 2 * flat @ flat.T
    return distances.clamp(min=0)


def contrastive(residuals: Tensor, groups: Tensor) -> Tensor:
    """InfoNCE of residual patches, Eq. 1: the sum over all patches.

    Args:
        residuals: (B, ...) Noiseprint++ of B patches.
        groups: integer (B,); equal where camera, position and editing history are the same.

    Returns:
        A scalar. A patch without another one of its group does not take part; it is still one of
        those that the others should differ from.
    """
    similarity = -squared_distances(residuals)
    itself = torch.eye(len(groups), dtype=torch.bool, device=groups.device)
    positive = (groups[:, None] == groups[None, :]) & ~itself
    paired = positive.any(dim=1)
    below = similarity.masked_fill(itself, -torch.inf)[paired]
    above = below.masked_fill(~positive[paired], -torch.inf)
    return (below.logsumexp(dim=1) - above.logsumexp(dim=1)).sum()


def weighted_cross_entropy(logits: Tensor, truth: Tensor) -> Tensor:
    """Eq. 3 per image: (N, 2, H, W) logits of pristine and forged -> (N,).

    The mean is over the pixels that count; an image without any has the loss 0.
    """
    weights = logits.new_tensor(CLASS_WEIGHTS, dtype=torch.float32)
    losses = functional.cross_entropy(
        logits.float(), truth.long(), weights, ignore_index=IGNORED, reduction="none"
    )
    return losses.sum(dim=(1, 2)) / _pixels(truth != IGNORED)


def dice(logits: Tensor, truth: Tensor) -> Tensor:
    """Dice loss of the forged class per image, (N,), with squares in the denominator.

    Milletari et al., 3DV 2016, doi:10.1109/3DV.2016.79. One is added to both parts of the ratio.
    """
    counted = truth != IGNORED
    probability = logits.float().softmax(dim=1)[:, FORGED] * counted
    forged = (truth == FORGED).float()
    overlap = 2 * (probability * forged).sum(dim=(1, 2)) + _SMOOTH
    extent = (probability.square() + forged).sum(dim=(1, 2)) + _SMOOTH
    return 1 - overlap / extent


def localization(logits: Tensor, truth: Tensor, share: float = CROSS_ENTROPY_SHARE) -> Tensor:
    """Eq. 2 per image, (N,): cross entropy, by its ``share``, and Dice loss."""
    return share * weighted_cross_entropy(logits, truth) + (1 - share) * dice(logits, truth)


def true_class_probability(logits: Tensor, truth: Tensor) -> Tensor:
    """t of Eq. 6, float32 (N, H, W): how much probability each pixel gives to what it is."""
    probability = logits.float().softmax(dim=1)
    return torch.where(truth == FORGED, probability[:, FORGED], probability[:, PRISTINE])


def confidence(confidence_logits: Tensor, logits: Tensor, truth: Tensor) -> Tensor:
    """L_conf per image, (N,): mean squared error of the confidence over the pixels that count.

    ``confidence_logits`` is (N, 1, H, W). The reference follows from ``logits`` and teaches them
    nothing.
    """
    reference = true_class_probability(logits.detach(), truth)
    error = confidence_logits[:, 0].float().sigmoid() - reference
    counted = truth != IGNORED
    return (error.square() * counted).sum(dim=(1, 2)) / _pixels(counted)


def detection(score_logits: Tensor, forged: Tensor, forged_share: float) -> Tensor:
    """L_det per image, (N,): binary cross entropy, both classes of equal weight.

    Args:
        score_logits: (N,).
        forged: bool (N,).
        forged_share: part of the forged among the ``forged`` that are learned from: crops that
            show a forgery, where crops are. Where it is 0 or 1 there is nothing to balance.
    """
    losses = functional.binary_cross_entropy_with_logits(
        score_logits.float(), forged.float(), reduction="none"
    )
    if not 0 < forged_share < 1:
        return losses
    return losses * torch.where(forged, 0.5 / forged_share, 0.5 / (1 - forged_share))


def reliability(confidence_loss: Tensor, detection_loss: Tensor) -> Tensor:
    """Eq. 7 per image, (N,)."""
    return confidence_loss + DETECTION_SHARE * detection_loss


def _pixels(counted: Tensor) -> Tensor:
    return counted.sum(dim=(1, 2)).clamp(min=1)
