"""Levenberg and Marquardt's method finds networks; its derivatives are those of the loss."""

from __future__ import annotations

import torch

from forensics.prnu.predictors.levenberg import DECAY, Network, _Problem, fit_network


def some_network(seed: int, hidden: int, inputs: int) -> Network:
    generator = torch.Generator().manual_seed(seed)
    shapes = ((hidden, inputs), (hidden,), (hidden,), ())
    return Network(
        *(torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes)
    )


def inputs(n: int, count: int) -> torch.Tensor:
    return torch.randn(n, count, generator=torch.Generator().manual_seed(9), dtype=torch.float64)


def test_finds_a_network_that_explains_the_targets() -> None:
    x = inputs(400, 3)
    y = some_network(1, 2, 3)(x)
    y = (y - y.mean()) / y.std()
    found = fit_network(x, y, torch.ones(400, dtype=torch.float64), hidden=4, seed=0)
    assert float((found(x) - y).square().mean()) < 0.01


def test_curvature_and_gradient() -> None:
    x = inputs(30, 3)
    y = some_network(1, 2, 3)(x)
    weights = torch.linspace(0.1, 1, 30, dtype=torch.float64)
    weights /= weights.sum()
    problem = _Problem(x, y, weights, hidden=2)
    theta = problem.start(4).requires_grad_()

    def residuals(t: torch.Tensor) -> torch.Tensor:
        return weights.sqrt() * (problem.network(t)(x) - y)

    decay = torch.tensor([DECAY] * 6 + [0.0] * 2 + [DECAY] * 2 + [0.0], dtype=torch.float64)
    expected = residuals(theta).square().sum() + (decay * theta.square()).sum()
    [slope] = torch.autograd.grad(expected, theta)
    J = torch.autograd.functional.jacobian(residuals, theta)
    loss, curvature, gradient = problem.expand(theta.detach())
    assert abs(loss - expected.item()) < 1e-12
    assert problem.loss(theta.detach()) == loss
    torch.testing.assert_close(gradient, slope / 2)
    torch.testing.assert_close(curvature, J.T @ J + torch.diag(decay))


def test_the_start_is_the_seeds() -> None:
    problem = _Problem(inputs(5, 3), torch.zeros(5), torch.ones(5), hidden=2)
    assert torch.equal(problem.start(3), problem.start(3))
    assert not torch.equal(problem.start(3), problem.start(4))
