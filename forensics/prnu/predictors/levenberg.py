"""Levenberg and Marquardt's method for a network with one hidden layer.

It takes some fifty steps where gradient descent takes thousands, at the price of a matrix of as
many rows as samples and as many columns as parameters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch

DECAY = 1e-3  # of the weights, relative to the mean square of the targets
_STEPS = 60
_DONE = 1e-6  # a step that lowers the loss by a smaller part of it is the last
_DAMPING, _LESS, _MORE = 1e-2, 0.2, 4.0
_LEAST_DAMPING, _MOST_DAMPING = 1e-6, 1e6


class Network(NamedTuple):
    """``tanh(x @ weight.T + bias) @ output + offset``, all float64."""

    weight: torch.Tensor  # (hidden, inputs)
    bias: torch.Tensor  # (hidden,)
    output: torch.Tensor  # (hidden,)
    offset: torch.Tensor  # ()

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """(n,) for (n, inputs)."""
        return torch.tanh(x @ self.weight.T + self.bias) @ self.output + self.offset


def fit_network(
    x: torch.Tensor, y: torch.Tensor, weights: torch.Tensor, hidden: int, seed: int
) -> Network:
    """The network of least weighted mean square error, with a little weight decay.

    Levenberg 1944, doi:10.1090/qam/10666; Marquardt 1963, doi:10.1137/0111030.

    Args:
        x: float64 (n, inputs), each input of mean 0 and spread 1.
        y: float64 (n,), likewise.
        weights: float64 (n,), 0 or more, their sum above 0.
        hidden: neurons.
        seed: of the network it starts from.
    """
    problem = _Problem(x, y, weights / weights.sum(), hidden)
    theta = problem.start(seed)
    damping = _DAMPING
    loss, curvature, gradient = problem.expand(theta)
    for _ in range(_STEPS):
        scale = curvature.diagonal().clamp(min=1e-9)
        while True:
            step = torch.linalg.solve(curvature + torch.diag(damping * scale), gradient)
            lower = problem.loss(theta - step)
            if lower < loss or damping > _MOST_DAMPING:
                break
            damping *= _MORE
        if not lower < loss:
            break
        gain, theta, damping = 1 - lower / loss, theta - step, max(damping * _LESS, _LEAST_DAMPING)
        if gain < _DONE:
            break
        loss, curvature, gradient = problem.expand(theta)
    return problem.network(theta)


@dataclass(frozen=True)
class _Problem:
    """The loss over a vector of all parameters, in the order of `Network`."""

    x: torch.Tensor
    y: torch.Tensor
    weights: torch.Tensor
    hidden: int

    def start(self, seed: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        theta = torch.randn(self._decay().numel(), generator=generator, dtype=torch.float64)
        first = self.hidden * self.x.shape[1]
        theta[:first] *= self.x.shape[1] ** -0.5
        theta[first:-1] *= 0.5
        theta[-1] = 0
        return theta

    def network(self, theta: torch.Tensor) -> Network:
        inputs, hidden = self.x.shape[1], self.hidden
        weight, bias, output, offset = torch.split(theta, [hidden * inputs, hidden, hidden, 1])
        return Network(weight.view(hidden, inputs), bias, output, offset[0])

    def loss(self, theta: torch.Tensor) -> float:
        error = self.network(theta)(self.x) - self.y
        return float(self.weights @ error.square() + self._decay() @ theta.square())

    def expand(self, theta: torch.Tensor) -> tuple[float, torch.Tensor, torch.Tensor]:
        """Loss, and half its curvature (Gauss-Newton) and gradient."""
        net = self.network(theta)
        active = torch.tanh(self.x @ net.weight.T + net.bias)
        error = active @ net.output + net.offset - self.y
        slope = (1 - active.square()) * net.output
        per_weight = (slope[:, :, None] * self.x[:, None, :]).flatten(1)
        jacobian = torch.cat([per_weight, slope, active, torch.ones_like(error)[:, None]], 1)
        decay = self._decay()
        weighted = self.weights[:, None] * jacobian
        loss = float(self.weights @ error.square() + decay @ theta.square())
        return loss, jacobian.T @ weighted + torch.diag(decay), weighted.T @ error + decay * theta

    def _decay(self) -> torch.Tensor:
        """Of each parameter; shifts are free."""
        hidden = self.hidden
        parts = [(hidden * self.x.shape[1], DECAY), (hidden, 0.0), (hidden, DECAY), (1, 0.0)]
        return torch.cat([torch.full((n,), value, dtype=torch.float64) for n, value in parts])
