"""The heads that turn the fused maps into one value (or two) per quarter pixel."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate


class _Projection(nn.Module):
    """Holds a linear layer under the published name ``proj``."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.proj = nn.Linear(before, after)


class MlpDecoder(nn.Module):
    """SegFormer's head: every scale projected, brought to the finest one, fused, predicted.

    Xie et al. 2021, arXiv:2105.15203. ``eps`` is that of the batch norm.
    """

    def __init__(self, widths: Sequence[int], embedding: int, outputs: int, eps: float) -> None:
        super().__init__()
        for scale in range(len(widths), 0, -1):
            self.add_module(f"linear_c{scale}", _Projection(widths[scale - 1], embedding))
        self.linear_fuse = nn.Sequential(
            nn.Conv2d(len(widths) * embedding, embedding, 1),
            nn.BatchNorm2d(embedding, eps=eps),
            nn.ReLU(inplace=True),
        )
        self.dropout = nn.Dropout2d(0.1)
        self.linear_pred = nn.Conv2d(embedding, outputs, 1)
        self.scales = len(widths)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Maps (N, h, w, C), finest first, to (N, outputs, h, w) of the finest."""
        size = maps[0].shape[1:3]
        projected = []
        for scale in range(self.scales, 0, -1):
            x = self.projection(scale)(maps[scale - 1]).permute(0, 3, 1, 2)
            projected.append(interpolate(x, size, mode="bilinear", align_corners=False))
        fused = self.linear_fuse(torch.cat(projected, dim=1))
        out: Tensor = self.linear_pred(self.dropout(fused))
        return out

    def projection(self, scale: int) -> nn.Linear:
        """The linear layer of scale 1 (finest) to 4."""
        holder: _Projection = getattr(self, f"linear_c{scale}")
        return holder.proj
