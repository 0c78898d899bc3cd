"""Stages of the encoder in place: few maps of a stage are held at once, and nothing wider."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import conv2d, gelu

from forensics.trufor.encoder import Block, PatchEmbed, Stage
from forensics.trufor.inference.strips import RowConvolution, strips


def embed_plane(embed: PatchEmbed, plane: Tensor) -> Tensor:
    """``embed`` of a plane (1, H, W, 1) that would be repeated for every input channel."""
    conv = embed.proj
    weight = conv.weight.sum(dim=1, keepdim=True)
    x = conv2d(plane.permute(0, 3, 1, 2), weight, conv.bias, conv.stride, conv.padding)
    out: Tensor = embed.norm(x.permute(0, 2, 3, 1))
    return out


def run_blocks(stage: Stage, x: Tensor) -> Tensor:
    """Embedded patches (1, h, w, C) through a stage, normalised. Changes ``x``."""
    for block in stage.blocks:
        _attend(block, x)
        _feed_forward(block, x)
    out: Tensor = stage.norm(x)
    return out


def _attend(block: Block, x: Tensor) -> None:
    normed = block.norm1(x)
    keys, values = block.attn.context(normed)
    for rows in strips(x.shape[1], x.shape[2] * x.shape[3], x.device):
        x[:, rows] += block.attn.answer(normed[:, rows], keys, values)


def _feed_forward(block: Block, x: Tensor) -> None:
    mlp, height = block.mlp, x.shape[1]
    layer = mlp.dwconv.dwconv
    hidden = len(layer.weight)
    convolution = RowConvolution(layer.weight, layer.bias, groups=hidden)
    done = 0
    for rows in strips(height, x.shape[2] * hidden, x.device):
        wide = convolution.push(mlp.fc1(block.norm2(x[:, rows])), rows.stop == height)
        # The convolution lags behind, so what changes here has been read already.
        x[:, done : done + wide.shape[1]] += mlp.fc2(gelu(wide))
        done += wide.shape[1]
