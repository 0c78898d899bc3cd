"""Vector quantisation as a layer: how much of every codeword is in a field of residual vectors.

The scores of codewords c are ``<r, c> + ε`` (eq. 3 of the paper); hard-max counts the best,
soft-max (eq. 4) shares each vector out. A field has 81 maps, far more than anything else; they are
made in parts that stay in cache, and made again for gradients instead of being kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_PART = 2048  # vectors at once per core: their scores fit into its cache
_PART_ELSEWHERE = 1 << 20
_FLOOR = -60.0  # exp of it counts for nothing beside 1, and is no denormal, which would be slow


def hard_histogram(residuals: Tensor, codewords: Tensor, biases: Tensor) -> Tensor:
    """How many vectors score highest with each codeword, int64 (B, K).

    ``residuals`` (B, N, n), ``codewords`` (K, N), ``biases`` (K,); all float32.
    """
    table = torch.cat([codewords, biases[:, None]], 1)
    counts = torch.zeros(len(residuals), len(table), dtype=torch.int64, device=residuals.device)
    for items, _, part in _parts(residuals):
        best = _times(table, part).argmax(1)
        number = torch.arange(len(best), device=best.device)[:, None] * len(table)
        found = torch.bincount((best + number).flatten(), minlength=len(best) * len(table))
        counts[items] += found.reshape(len(best), len(table))
    return counts


def soft_histogram(residuals: Tensor, codewords: Tensor, biases: Tensor, alpha: float) -> Tensor:
    """Shares of each codeword, summed over the vectors, float32 (B, K); differentiable.

    Shapes as for `hard_histogram`, which is the limit of a large ``alpha``.
    """
    table = torch.cat([codewords, biases[:, None]], 1) * alpha
    shares: Tensor = _SoftHistogram.apply(residuals, table)  # type: ignore[no-untyped-call]
    return shares


def soft_maps(
    residuals: Tensor, codewords: Tensor, biases: Tensor, alpha: float, weights: Tensor
) -> Tensor:
    """What ``weights`` (C, K) make of the shares of every vector: (C, n) for (N, n) residuals."""
    table = torch.cat([codewords, biases[:, None]], 1) * alpha
    both = torch.cat([weights, torch.ones_like(weights[:1])])
    out = residuals.new_empty(len(weights), residuals.shape[1])
    for _, places, part in _parts(residuals[None]):
        sums = torch.mm(both, _exponentials(table, part)[0])
        torch.div(sums[:-1], sums[-1], out=out[:, places])
    return out


class _SoftHistogram(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, residuals: Tensor, table: Tensor) -> Tensor:
        ctx.save_for_backward(residuals, table)
        sums = residuals.new_zeros(len(residuals), len(table))
        for items, _, part in _parts(residuals):
            exponentials = _exponentials(table, part)
            sums[items] += torch.bmm(exponentials, 1 / exponentials.sum(1)[..., None])[..., 0]
        return sums

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        residuals, table = ctx.saved_tensors
        to_residuals = torch.empty_like(residuals)
        to_table = torch.zeros_like(table)
        for items, places, part in _parts(residuals):
            shares = _exponentials(table, part)
            shares /= shares.sum(1, keepdim=True)
            wanted = gradient[items][..., None]
            mean = torch.bmm(wanted.mT, shares)
            to_scores = shares.mul_(wanted - mean)
            to_table += torch.bmm(to_scores, part.mT).sum(0)
            to_residuals[items, :, places] = _times(table[:, :-1].mT, to_scores)
        return to_residuals, to_table


def _exponentials(table: Tensor, part: Tensor) -> Tensor:
    scores = _times(table, part)
    scores -= scores.amax(1, keepdim=True)
    return scores.clamp_(min=_FLOOR).exp_()


def _times(matrix: Tensor, part: Tensor) -> Tensor:
    """(b, K, n) for (K, N) and (b, N, n)."""
    # matmul would transpose and copy what is large.
    return torch.bmm(matrix.expand(len(part), -1, -1), part)


def _parts(residuals: Tensor) -> Iterator[tuple[slice, slice, Tensor]]:
    """Which items, which of their vectors, and those as (b, N + 1, n): ones are for the biases."""
    count, _, length = residuals.shape
    on_cpu = residuals.device.type == "cpu"
    most = _PART * torch.get_num_threads() if on_cpu else _PART_ELSEWHERE
    at_once = max(1, most // length)
    for start in range(0, count, at_once):
        items = slice(start, start + at_once)
        for begin in range(0, length, most):
            places = slice(begin, begin + most)
            part = residuals[items, :, places]
            yield items, places, torch.cat([part, torch.ones_like(part[:, :1])], 1)
