"""Rectification and fusion of the two branches strip by strip, after their global statistics."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, relu

from forensics.trufor.fusion import MIX, FeatureFusion, FeatureRectify
from forensics.trufor.inference.strips import RowConvolution, block_diagonal, strips
from forensics.trufor.noiseprint import affine


def rectify(module: FeatureRectify, x: Tensor, y: Tensor) -> None:
    """`FeatureRectify` of two maps (1, h, w, C), both changed in place."""
    means = torch.cat([x.mean((1, 2)), y.mean((1, 2))], dim=-1)
    peaks = torch.cat([x.amax((1, 2)), y.amax((1, 2))], dim=-1)
    for_y, for_x = module.by_channel(means, peaks)
    for rows in strips(x.shape[1], 2 * x.shape[2] * x.shape[3], x.device):
        a, b = x[:, rows], y[:, rows]
        by_place = module.by_place(torch.cat([a, b], dim=-1))
        rectified = a + MIX * (for_x + by_place[..., 1:]) * b
        b += MIX * (for_y + by_place[..., :1]) * a
        x[:, rows] = rectified


class Fusion:
    """A trained `FeatureFusion` for inference.

    Keys and values are linear in the tokens u, so their product over all tokens follows from the
    Gram matrix Σ uᵀu, and the context so found can be multiplied into the projection that comes
    after: two linear layers per stream remain. Batch norms are folded.
    """

    def __init__(self, module: FeatureFusion, heads: int) -> None:
        self._cross, self._heads = module.cross, heads
        embed = module.channel_emb
        layers: Any = embed.channel_embed
        first, depthwise, _, last, norm = layers
        scale, shift = affine(embed.norm)
        inner_scale, inner_shift = affine(norm)
        residual = embed.residual.weight.flatten(1) * scale[:, None]
        self._in = torch.cat([residual, first.weight.flatten(1)])
        self._in_bias = torch.cat([shift + inner_shift * scale, first.bias])
        self._depthwise: nn.Conv2d = depthwise
        total = inner_scale * scale
        self._out = last.weight.flatten(1) * total[:, None]
        self._out_bias = last.bias * total

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """Two maps (1, h, w, C) to one."""
        cross = self._cross
        after_x, after_y = self._projections(x, y)
        height, width = x.shape[1], x.shape[-1]
        convolution = RowConvolution(self._depthwise.weight, self._depthwise.bias, groups=width)
        fused, done = torch.empty_like(x), 0
        for rows in strips(height, 2 * x.shape[2] * width, x.device):
            a, b = x[:, rows], y[:, rows]
            hidden = relu(cross.channel_proj1(a))
            a = cross.norm1(a + linear(hidden, after_x, cross.end_proj1.bias))
            hidden = relu(cross.channel_proj2(b))
            b = cross.norm2(b + linear(hidden, after_y, cross.end_proj2.bias))
            both = linear(torch.cat([a, b], dim=-1), self._in, self._in_bias)
            fused[:, rows] = both[..., :width]
            z = convolution.push(both[..., width:], rows.stop == height).relu_()
            fused[:, done : done + z.shape[1]] += linear(z, self._out, self._out_bias)
            done += z.shape[1]
        return fused

    def _projections(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Weights (C, 2C) of ``end_proj`` with the other stream's context multiplied in."""
        cross = self._cross
        attention = cross.cross_attn
        context_x = self._context(_gram(cross.channel_proj1, x), attention.kv1.weight)
        context_y = self._context(_gram(cross.channel_proj2, y), attention.kv2.weight)
        return _merged(cross.end_proj1.weight, context_y), _merged(
            cross.end_proj2.weight, context_x
        )

    def _context(self, gram: Tensor, kv: Tensor) -> Tensor:
        """Block-diagonal (C, C): one softmax(kᵀv·scale) per head."""
        width = len(gram)
        size = width // self._heads
        keys, values = kv.to(gram.dtype).view(2, self._heads, size, width)
        context = (keys @ gram @ values.transpose(-2, -1) * size**-0.5).softmax(dim=-2)
        return block_diagonal(context).to(kv.dtype)


def _gram(projection: nn.Linear, x: Tensor) -> Tensor:
    """Σ uᵀu over all tokens u of a stream, float64.

    Sums over every pixel go into a softmax, where float32 would show in large images.
    """
    width = x.shape[-1]
    weight, bias = projection.weight[width:], projection.bias[width:]
    gram = x.new_zeros(width, width, dtype=torch.float64)
    for rows in strips(x.shape[1], 2 * x.shape[2] * width, x.device):
        u = relu(linear(x[:, rows], weight, bias)).view(-1, width).to(torch.float64)
        gram.addmm_(u.T, u)
    return gram


def _merged(weight: Tensor, context: Tensor) -> Tensor:
    """[kept | asked @ context] @ weightᵀ as one matrix on [kept | asked]."""
    kept, got = weight.chunk(2, dim=1)
    return torch.cat([kept, got @ context.T], dim=1)
