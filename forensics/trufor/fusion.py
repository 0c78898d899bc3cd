"""What joins the two branches: rectification of each by the other, and fusion (CMX).

Liu et al. 2022, "CMX: Cross-modal fusion for RGB-X semantic segmentation with transformers",
doi:10.1109/TITS.2023.3300537. Maps are (N, H, W, C).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

MIX = 0.5
"""Weight of each of the two kinds of rectification, by channel and by place."""


class _Weights(nn.Module):
    """Holds the layers under the published name ``mlp``."""

    def __init__(self, mlp: nn.Sequential) -> None:
        super().__init__()
        self.mlp = mlp


class FeatureRectify(nn.Module):
    """Feature rectification: each stream gets of the other what channel and place call for."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.channel_weights = _Weights(
            nn.Sequential(
                nn.Linear(4 * width, 4 * width), nn.ReLU(inplace=True),
                nn.Linear(4 * width, 2 * width), nn.Sigmoid(),
            )
        )  # fmt: skip
        self.spatial_weights = _Weights(
            nn.Sequential(
                nn.Conv2d(2 * width, width, 1), nn.ReLU(inplace=True),
                nn.Conv2d(width, 2, 1), nn.Sigmoid(),
            )
        )  # fmt: skip

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        means = torch.cat([x.mean((1, 2)), y.mean((1, 2))], dim=-1)
        peaks = torch.cat([x.amax((1, 2)), y.amax((1, 2))], dim=-1)
        for_y, for_x = self.by_channel(means, peaks)
        by_place = self.by_place(torch.cat([x, y], dim=-1))
        rectified_x = x + MIX * (for_x + by_place[..., 1:]) * y
        rectified_y = y + MIX * (for_y + by_place[..., :1]) * x
        return rectified_x, rectified_y

    def by_channel(self, means: Tensor, peaks: Tensor) -> tuple[Tensor, Tensor]:
        """Weights (N, 1, 1, C) for the second and the first stream from (N, 2C) statistics."""
        weights: Tensor = self.channel_weights.mlp(torch.cat([means, peaks], dim=-1))
        second, first = weights[:, None, None].chunk(2, dim=-1)
        return second, first

    def by_place(self, both: Tensor) -> Tensor:
        """Weights (N, H, W, 2) for the second and the first stream from both (N, H, W, 2C)."""
        weights: Tensor = self.spatial_weights.mlp(both.permute(0, 3, 1, 2))
        return weights.permute(0, 2, 3, 1)


class CrossAttention(nn.Module):
    """Linear attention: each stream's queries meet the context of the other's keys and values."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.kv1 = nn.Linear(width, 2 * width, bias=False)
        self.kv2 = nn.Linear(width, 2 * width, bias=False)

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """(N, L, C) tokens."""
        context_x, context_y = self._context(self.kv1(x)), self._context(self.kv2(y))
        return self._answer(x, context_y), self._answer(y, context_x)

    def _context(self, kv: Tensor) -> Tensor:
        keys, values = map(self._split, kv.chunk(2, dim=-1))
        scale: float = keys.shape[-1] ** -0.5
        return (keys.transpose(-2, -1) @ values * scale).softmax(dim=-2)

    def _answer(self, q: Tensor, context: Tensor) -> Tensor:
        return (self._split(q) @ context).transpose(1, 2).flatten(2)

    def _split(self, x: Tensor) -> Tensor:
        return x.reshape(len(x), -1, self.heads, x.shape[-1] // self.heads).transpose(1, 2)


class CrossPath(nn.Module):
    """Exchange between the streams, token by token but for one small context each."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.channel_proj1 = nn.Linear(width, 2 * width)
        self.channel_proj2 = nn.Linear(width, 2 * width)
        self.cross_attn = CrossAttention(width, heads)
        self.end_proj1 = nn.Linear(2 * width, width)
        self.end_proj2 = nn.Linear(2 * width, width)
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """(N, L, C) tokens."""
        kept_x, asked_x = relu(self.channel_proj1(x)).chunk(2, dim=-1)
        kept_y, asked_y = relu(self.channel_proj2(y)).chunk(2, dim=-1)
        got_x, got_y = self.cross_attn(asked_x, asked_y)
        x = self.norm1(x + self.end_proj1(torch.cat([kept_x, got_x], dim=-1)))
        y = self.norm2(y + self.end_proj2(torch.cat([kept_y, got_y], dim=-1)))
        return x, y


class ChannelEmbed(nn.Module):
    """Both streams side by side (2C) to one map (C)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.residual = nn.Conv2d(2 * width, width, 1, bias=False)
        self.channel_embed = nn.Sequential(
            nn.Conv2d(2 * width, width, 1),
            nn.Conv2d(width, width, 3, padding=1, groups=width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 1),
            nn.BatchNorm2d(width),
        )
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 3, 1, 2)
        out: Tensor = self.norm(self.residual(x) + self.channel_embed(x))
        return out.permute(0, 2, 3, 1)


class FeatureFusion(nn.Module):
    """Feature fusion: cross-attention between the streams, then one map from both."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.cross = CrossPath(width, heads)
        self.channel_emb = ChannelEmbed(width)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        both = torch.cat(self.cross(x.flatten(1, 2), y.flatten(1, 2)), dim=-1)
        fused: Tensor = self.channel_emb(both.reshape(*x.shape[:3], -1))
        return fused
