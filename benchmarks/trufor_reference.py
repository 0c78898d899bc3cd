"""TruFor written straight from its description: what the fast one is held against.

Follows the published code step by step: maps in (N, C, H, W), attention matrices held as a whole,
every scale enlarged before the decoders fuse them. It reads nothing but a state dict, so it shares
no code with `forensics.trufor`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn.functional import (
    batch_norm,
    conv2d,
    gelu,
    interpolate,
    layer_norm,
    linear,
    logsigmoid,
)

Weights = Mapping[str, Tensor]

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def trufor(
    w: Weights, rgb: Tensor, heads: Sequence[int] = (1, 2, 5, 8)
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Logits, confidence logits, score logit and Noiseprint++ of uint8 (H, W, 3)."""
    x = rgb.permute(2, 0, 1)[None].to(torch.float32) / 256.0
    noiseprint = dncnn(w, x)
    mean, std = (torch.tensor(v)[:, None, None] for v in (MEAN, STD))
    maps = encoder(w, (x - mean) / std, noiseprint.repeat(1, 3, 1, 1), heads)
    size = x.shape[2:]
    logits = enlarged(decoder(w, "decode_head", maps, 1e-3), size)
    confidence = enlarged(decoder(w, "decode_head_conf", maps, 1e-5), size)
    pooled = torch.cat(
        [
            statistics(confidence, torch.zeros_like(confidence)),
            statistics(logits[:, 1:] - logits[:, :1], logsigmoid(confidence)),
        ],
        dim=-1,
    )
    hidden = torch.relu(_linear(w, "detection.0", pooled))
    return logits, confidence, _linear(w, "detection.3", hidden), noiseprint


def dncnn(w: Weights, x: Tensor) -> Tensor:
    last = max(int(name.split(".")[1]) for name in w if name.startswith("dncnn."))
    x = torch.relu(_conv(w, "dncnn.0", x, padding=1))
    for i in range(2, last, 3):
        x = torch.relu(_bn(w, f"dncnn.{i + 1}", _conv(w, f"dncnn.{i}", x, padding=1)))
    return _conv(w, f"dncnn.{last}", x, padding=1)


def encoder(w: Weights, x: Tensor, y: Tensor, heads: Sequence[int]) -> list[Tensor]:
    maps = []
    for i in range(4):
        x, y = _stage(w, "", i, x, heads[i]), _stage(w, "extra_", i, y, heads[i])
        x, y = rectify(w, f"backbone.FRMs.{i}", x, y)
        maps.append(fuse(w, f"backbone.FFMs.{i}", x, y, heads[i]))
    return maps


def _stage(w: Weights, branch: str, i: int, x: Tensor, heads: int) -> Tensor:
    name = f"backbone.{branch}patch_embed{i + 1}"
    kernel = w[f"{name}.proj.weight"].shape[-1]
    x = _conv(w, f"{name}.proj", x, stride=4 if i == 0 else 2, padding=kernel // 2)
    size = x.shape[2:]
    x = _ln(w, f"{name}.norm", _tokens(x), 1e-5)
    j = 0
    while (name := f"backbone.{branch}block{i + 1}.{j}") + ".norm1.weight" in w:
        x = x + attention(w, f"{name}.attn", _ln(w, f"{name}.norm1", x, 1e-6), size, heads)
        x = x + mlp(w, f"{name}.mlp", _ln(w, f"{name}.norm2", x, 1e-6), size)
        j += 1
    return _map(_ln(w, f"backbone.{branch}norm{i + 1}", x, 1e-6), size).contiguous()


def attention(w: Weights, name: str, x: Tensor, size: Sequence[int], heads: int) -> Tensor:
    q = _heads(_linear(w, f"{name}.q", x), heads)
    if f"{name}.sr.weight" in w:
        ratio = w[f"{name}.sr.weight"].shape[-1]
        x = _tokens(_conv(w, f"{name}.sr", _map(x, size), stride=ratio))
        x = _ln(w, f"{name}.norm", x, 1e-5)
    k, v = (_heads(part, heads) for part in _linear(w, f"{name}.kv", x).chunk(2, dim=-1))
    matrix = (q @ k.transpose(-2, -1)) * q.shape[-1] ** -0.5
    mixed = matrix.softmax(dim=-1) @ v
    return _linear(w, f"{name}.proj", mixed.transpose(1, 2).flatten(2))


def mlp(w: Weights, name: str, x: Tensor, size: Sequence[int]) -> Tensor:
    x = _map(_linear(w, f"{name}.fc1", x), size)
    x = _conv(w, f"{name}.dwconv.dwconv", x, padding=1, groups=x.shape[1])
    return _linear(w, f"{name}.fc2", gelu(_tokens(x)))


def rectify(w: Weights, name: str, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    both = torch.cat([x, y], dim=1)
    pooled = torch.cat([both.mean((2, 3)), both.amax((2, 3))], dim=1)
    hidden = torch.relu(_linear(w, f"{name}.channel_weights.mlp.0", pooled))
    channel = torch.sigmoid(_linear(w, f"{name}.channel_weights.mlp.2", hidden))
    channel = channel.unflatten(1, (2, -1))[..., None, None]
    hidden = torch.relu(_conv(w, f"{name}.spatial_weights.mlp.0", both))
    spatial = torch.sigmoid(_conv(w, f"{name}.spatial_weights.mlp.2", hidden))
    return (
        x + 0.5 * channel[:, 1] * y + 0.5 * spatial[:, 1:] * y,
        y + 0.5 * channel[:, 0] * x + 0.5 * spatial[:, :1] * x,
    )


def fuse(w: Weights, name: str, x: Tensor, y: Tensor, heads: int) -> Tensor:
    size, cross = x.shape[2:], f"{name}.cross"
    x, y = _tokens(x), _tokens(y)
    kept_x, u_x = torch.relu(_linear(w, f"{cross}.channel_proj1", x)).chunk(2, dim=-1)
    kept_y, u_y = torch.relu(_linear(w, f"{cross}.channel_proj2", y)).chunk(2, dim=-1)
    context_x = _context(_linear(w, f"{cross}.cross_attn.kv1", u_x), heads)
    context_y = _context(_linear(w, f"{cross}.cross_attn.kv2", u_y), heads)
    got_x = (_heads(u_x, heads) @ context_y).transpose(1, 2).flatten(2)
    got_y = (_heads(u_y, heads) @ context_x).transpose(1, 2).flatten(2)
    x = x + _linear(w, f"{cross}.end_proj1", torch.cat([kept_x, got_x], dim=-1))
    y = y + _linear(w, f"{cross}.end_proj2", torch.cat([kept_y, got_y], dim=-1))
    x, y = _ln(w, f"{cross}.norm1", x, 1e-5), _ln(w, f"{cross}.norm2", y, 1e-5)
    both, embed = _map(torch.cat([x, y], dim=-1), size), f"{name}.channel_emb.channel_embed"
    z = _conv(w, f"{embed}.0", both)
    z = torch.relu(_conv(w, f"{embed}.1", z, padding=1, groups=z.shape[1]))
    z = _bn(w, f"{embed}.4", _conv(w, f"{embed}.3", z))
    return _bn(w, f"{name}.channel_emb.norm", _conv(w, f"{name}.channel_emb.residual", both) + z)


def _context(kv: Tensor, heads: int) -> Tensor:
    k, v = (_heads(part, heads) for part in kv.chunk(2, dim=-1))
    return ((k.transpose(-2, -1) @ v) * k.shape[-1] ** -0.5).softmax(dim=-2)


def decoder(w: Weights, name: str, maps: Sequence[Tensor], eps: float) -> Tensor:
    size = maps[0].shape[2:]
    scales = []
    for i in (4, 3, 2, 1):
        x = maps[i - 1]
        x = _map(_linear(w, f"{name}.linear_c{i}.proj", _tokens(x)), x.shape[2:])
        scales.append(enlarged(x, size))
    x = _bn(
        w, f"{name}.linear_fuse.1", _conv(w, f"{name}.linear_fuse.0", torch.cat(scales, 1)), eps
    )
    return _conv(w, f"{name}.linear_pred", torch.relu(x))


def statistics(x: Tensor, log_w: Tensor) -> Tensor:
    x, log_w = x.flatten(1), log_w.flatten(1).log_softmax(dim=-1)
    weights = log_w.exp()
    return torch.stack(
        [
            -torch.logsumexp(log_w - x, dim=-1),
            torch.logsumexp(log_w + x, dim=-1),
            (weights * x).sum(-1),
            (weights * x * x).sum(-1),
        ],
        dim=-1,
    )


def enlarged(x: Tensor, size: Sequence[int]) -> Tensor:
    return interpolate(x, tuple(size), mode="bilinear", align_corners=False)


def _tokens(x: Tensor) -> Tensor:
    return x.flatten(2).transpose(1, 2)


def _map(x: Tensor, size: Sequence[int]) -> Tensor:
    return x.transpose(1, 2).reshape(len(x), -1, *size)


def _heads(x: Tensor, heads: int) -> Tensor:
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def _conv(
    w: Weights, name: str, x: Tensor, stride: int = 1, padding: int = 0, groups: int = 1
) -> Tensor:
    return conv2d(x, w[f"{name}.weight"], w.get(f"{name}.bias"), stride, padding, 1, groups)


def _linear(w: Weights, name: str, x: Tensor) -> Tensor:
    return linear(x, w[f"{name}.weight"], w.get(f"{name}.bias"))


def _ln(w: Weights, name: str, x: Tensor, eps: float) -> Tensor:
    weight = w[f"{name}.weight"]
    return layer_norm(x, weight.shape, weight, w[f"{name}.bias"], eps)


def _bn(w: Weights, name: str, x: Tensor, eps: float = 1e-5) -> Tensor:
    statistics = w[f"{name}.running_mean"], w[f"{name}.running_var"]
    return batch_norm(x, *statistics, w[f"{name}.weight"], w[f"{name}.bias"], eps=eps)
