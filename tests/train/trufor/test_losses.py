"""The losses against numbers worked out by hand, and what they must not depend on."""

from __future__ import annotations

from math import exp, log

import pytest
import torch
from torch import Tensor

from forensics.train.trufor import losses
from forensics.train.trufor.losses import FORGED, IGNORED, PRISTINE


def logits_of(forged: list[list[float]]) -> Tensor:
    """(1, 2, H, W) logits whose softmax gives these probabilities of the forged class."""
    a = torch.tensor(forged, dtype=torch.float64)
    return torch.stack([(1 - a).log(), a.log()])[None]


def test_contrastive_by_hand() -> None:
    """Patches of two pixels: distances 1 in the first group, 2 and 5 to the lone third."""
    residuals = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [3.0, 1.0]])
    groups = torch.tensor([4, 4, 7, 7])
    s = {(0, 1): 1, (0, 2): 2, (0, 3): 10, (1, 2): 1, (1, 3): 5, (2, 3): 4}
    expected = 0.0
    for i, j in ((0, 1), (1, 0), (2, 3), (3, 2)):
        others = sum(exp(-s[min(i, k), max(i, k)]) for k in range(4) if k != i)
        expected -= log(exp(-s[min(i, j), max(i, j)]) / others)
    assert losses.contrastive(residuals, groups).item() == pytest.approx(expected, rel=1e-6)


def test_several_positives_count_together() -> None:
    residuals = torch.tensor([[0.0], [1.0], [2.0], [4.0]])
    groups = torch.tensor([0, 0, 0, 1])  # the last has no partner: no anchor, but a negative
    terms = [
        (exp(-1) + exp(-4)) / (exp(-1) + exp(-4) + exp(-16)),
        2 * exp(-1) / (2 * exp(-1) + exp(-9)),
        (exp(-1) + exp(-4)) / (exp(-1) + 2 * exp(-4)),
    ]
    expected = -sum(log(term) for term in terms)
    assert losses.contrastive(residuals, groups).item() == pytest.approx(expected, rel=1e-5)


def test_contrastive_of_far_patches_is_finite_and_falls_along_its_gradient() -> None:
    torch.manual_seed(0)
    residuals = (30 * torch.randn(8, 1, 8, 8)).requires_grad_()
    groups = torch.arange(8) // 2
    loss = losses.contrastive(residuals, groups)
    loss.backward()
    assert torch.isfinite(loss)
    assert residuals.grad is not None
    assert torch.isfinite(residuals.grad).all()
    with torch.no_grad():
        moved = residuals - 1e-3 * residuals.grad
    assert losses.contrastive(moved, groups) < loss


def test_contrastive_gradient() -> None:
    torch.manual_seed(1)
    x, groups = torch.randn(6, 4, dtype=torch.float32), torch.tensor([0, 0, 1, 1, 1, 2])
    x.requires_grad_()
    losses.contrastive(x, groups).backward()
    assert x.grad is not None
    step = 1e-2 * torch.randn_like(x)
    with torch.no_grad():
        rise = losses.contrastive(x + step, groups) - losses.contrastive(x - step, groups)
    assert rise.item() / 2 == pytest.approx((x.grad * step).sum().item(), rel=1e-2)


def test_distances_of_patches_with_a_common_offset() -> None:
    x = torch.tensor([[1000.0, 2000.0], [1000.5, 2000.0], [1000.0, 2002.0]])
    expected = torch.tensor([[0, 0.25, 4], [0.25, 0, 4.25], [4, 4.25, 0]])
    torch.testing.assert_close(losses.squared_distances(x), expected, rtol=1e-4, atol=1e-3)


def test_weighted_cross_entropy_by_hand() -> None:
    logits = logits_of([[0.2, 0.9], [0.6, 0.3]])
    truth = torch.tensor([[[PRISTINE, FORGED], [IGNORED, FORGED]]], dtype=torch.uint8)
    expected = -(0.5 * log(0.8) + 2.5 * log(0.9) + 2.5 * log(0.3)) / 3
    assert losses.weighted_cross_entropy(logits, truth).tolist() == pytest.approx([expected])


def test_dice_by_hand() -> None:
    logits = logits_of([[0.2, 0.9], [0.6, 0.3]])
    truth = torch.tensor([[[PRISTINE, FORGED], [IGNORED, FORGED]]], dtype=torch.uint8)
    expected = 1 - (2 * (0.9 + 0.3) + 1) / (0.04 + 0.81 + 0.09 + 2 + 1)
    assert losses.dice(logits, truth).tolist() == pytest.approx([expected])
    assert losses.localization(logits, truth, share=1).equal(
        losses.weighted_cross_entropy(logits, truth)
    )
    both = losses.localization(logits, truth)
    entropy = losses.weighted_cross_entropy(logits, truth)
    assert both.tolist() == pytest.approx([0.3 * entropy.item() + 0.7 * expected])


def test_losses_of_a_batch_are_those_of_its_images() -> None:
    torch.manual_seed(0)
    logits = torch.randn(3, 2, 5, 7)
    truth = torch.randint(0, 2, (3, 5, 7), dtype=torch.uint8)
    truth[1, :2] = IGNORED
    for loss in (losses.localization, losses.weighted_cross_entropy, losses.dice):
        alone = [loss(logits[i : i + 1], truth[i : i + 1]) for i in range(3)]
        torch.testing.assert_close(loss(logits, truth), torch.cat(alone))


def test_a_perfect_map_has_no_loss_and_ignored_pixels_none_at_all() -> None:
    truth = torch.tensor([[[PRISTINE, FORGED], [FORGED, PRISTINE]]], dtype=torch.uint8)
    logits = logits_of([[1e-7, 1 - 1e-7], [1 - 1e-7, 1e-7]]).float()
    assert losses.localization(logits, truth).item() == pytest.approx(0, abs=1e-5)
    nothing = torch.full_like(truth, IGNORED)
    logits.requires_grad_()
    loss = losses.localization(logits, nothing).sum()
    loss.backward()
    assert loss.item() == pytest.approx(0)
    assert logits.grad is not None
    assert not logits.grad.any()


def test_confidence_by_hand() -> None:
    logits = logits_of([[0.2, 0.9], [0.6, 0.3]]).requires_grad_()
    truth = torch.tensor([[[PRISTINE, FORGED], [IGNORED, FORGED]]], dtype=torch.uint8)
    t = losses.true_class_probability(logits, truth)
    assert t[0, 0].tolist() == pytest.approx([0.8, 0.9])
    assert t[0, 1, 1].item() == pytest.approx(0.3)
    raw = torch.zeros(1, 1, 2, 2, dtype=torch.float64, requires_grad=True)
    loss = losses.confidence(raw, logits, truth)
    assert loss.tolist() == pytest.approx([(0.3**2 + 0.4**2 + 0.2**2) / 3])
    loss.sum().backward()
    assert logits.grad is None
    assert raw.grad is not None
    # d/dc of (sigmoid(c) - t)² / 3 at 0 is 2 · (0.5 - t) · 0.25 / 3
    expected = [2 * (0.5 - 0.8) / 12, 2 * (0.5 - 0.9) / 12, 0, 2 * (0.5 - 0.3) / 12]
    assert raw.grad.flatten().tolist() == pytest.approx(expected)


def test_detection_by_hand_gives_both_classes_one_weight() -> None:
    score = torch.tensor([0.0, 2.0, -1.0, 0.5])
    forged = torch.tensor([True, False, False, False])
    loss = losses.detection(score, forged, forged_share=0.25)
    pristine = [log(1 + exp(value)) * 0.5 / 0.75 for value in (2.0, -1.0, 0.5)]
    assert loss.tolist() == pytest.approx([log(2) * 2, *pristine], rel=1e-6)
    equal = losses.detection(torch.zeros(4), forged, forged_share=0.25)
    assert equal[forged].sum().item() == pytest.approx(equal[~forged].sum().item())
    assert losses.detection(score[1:], forged[1:], 0.0)[0].item() == pytest.approx(log(1 + exp(2)))


def test_phase_3_adds_half_of_the_detection_loss() -> None:
    sum_ = losses.reliability(torch.tensor([0.2, 0.1]), torch.tensor([0.4, 1.0]))
    torch.testing.assert_close(sum_, torch.tensor([0.4, 0.6]))
