"""The encoder: Mix Transformers (SegFormer MiT) side by side, fused after every stage.

Maps are (N, H, W, C) here: tokens and pixels are the same memory, and convolutions see it as
channels-last.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Self, cast

from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn.functional import gelu, scaled_dot_product_attention

from forensics.config import Settings
from forensics.trufor.fusion import FeatureFusion, FeatureRectify

STAGES = 4
MLP_RATIO = 4
RGB_BRANCH, NOISEPRINT_BRANCH = "", "extra_"
BRANCHES = (RGB_BRANCH, NOISEPRINT_BRANCH)
"""Prefixes of the parameters."""

_EPS = 1e-6  # of the layer norms in blocks and after stages; the others have torch's 1e-5

Size = Annotated[int, Field(ge=1)]
PerStage = tuple[Size, Size, Size, Size]


class EncoderSettings(Settings):
    """Shape of one Mix Transformer, per stage; or the name of one, ``b0``, ``b1`` or ``b2``.

    So ``--network.encoder b0`` stands for the four settings of SegFormer's smallest.
    """

    widths: PerStage = Field(
        default=(64, 128, 320, 512),
        description="channels; the encoder b0, b1 or b2 by its name sets all four",
    )
    depths: PerStage = Field(default=(3, 4, 6, 3), description="blocks")
    heads: PerStage = Field(default=(1, 2, 5, 8), description="attention heads")
    sr_ratios: PerStage = Field(
        default=(8, 4, 2, 1), description="factor by which keys and values are reduced, per axis"
    )

    @model_validator(mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        if value not in PRESETS:
            raise ValueError(f"no encoder is called {value!r}: {', '.join(PRESETS)}, or its parts")
        return PRESETS[value].model_dump()

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        for width, heads in zip(self.widths, self.heads, strict=True):
            if width % heads:
                raise ValueError(f"a width of {width} cannot be split into {heads} heads")
        return self


B0 = EncoderSettings(widths=(32, 64, 160, 256), depths=(2, 2, 2, 2))
B1 = EncoderSettings(depths=(2, 2, 2, 2))
B2 = EncoderSettings()
PRESETS: Mapping[str, EncoderSettings] = {"b0": B0, "b1": B1, "b2": B2}


class PatchEmbed(nn.Module):
    """Overlapping patches: a strided convolution and a layer norm."""

    def __init__(self, before: int, after: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(before, after, kernel, stride, kernel // 2)
        self.norm = nn.LayerNorm(after)

    def forward(self, x: Tensor) -> Tensor:
        """(N, H, W, before) to (N, ceil(H/stride), ceil(W/stride), after)."""
        embedded: Tensor = self.norm(convolve(self.proj, x))
        return embedded


class Attention(nn.Module):
    """Self-attention whose keys and values come from a map reduced by ``ratio``."""

    def __init__(self, width: int, heads: int, ratio: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(width, width)
        self.kv = nn.Linear(width, 2 * width)
        self.proj = nn.Linear(width, width)
        self.sr = nn.Conv2d(width, width, ratio, ratio) if ratio > 1 else None
        self.norm = nn.LayerNorm(width) if ratio > 1 else None

    def forward(self, x: Tensor) -> Tensor:
        """(N, H, W, C), normalised, to the same shape. The matrix of weights is never held."""
        return self.answer(x, *self.context(x))

    def context(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values (N, heads, L, C/heads) of the whole map."""
        keys, values = self.kv(self.reduced(x)).chunk(2, dim=-1)
        return self._split(keys), self._split(values)

    def answer(self, x: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """What the queries of ``x``, any part of the map, get."""
        mixed = scaled_dot_product_attention(self._split(self.q(x)), keys, values)
        out: Tensor = self.proj(mixed.transpose(1, 2).reshape(x.shape))
        return out

    def reduced(self, x: Tensor) -> Tensor:
        """What keys and values are made from: (N, H // ratio, W // ratio, C)."""
        if self.sr is None or self.norm is None:
            return x
        out: Tensor = self.norm(convolve(self.sr, x))
        return out

    def _split(self, x: Tensor) -> Tensor:
        """(N, H, W, C) to (N, heads, H·W, C/heads)."""
        return x.reshape(len(x), -1, self.heads, x.shape[-1] // self.heads).transpose(1, 2)


class DepthwiseConvolution(nn.Module):
    """A 3x3 convolution of each channel by itself; a module of its own for the published names."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(width, width, 3, padding=1, groups=width)

    def forward(self, x: Tensor) -> Tensor:
        return convolve(self.dwconv, x)


class Mlp(nn.Module):
    """Feed-forward part of a block, with a depthwise convolution that tells tokens where they are.

    What stands for position codes, so that any image size will do.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, MLP_RATIO * width)
        self.dwconv = DepthwiseConvolution(MLP_RATIO * width)
        self.fc2 = nn.Linear(MLP_RATIO * width, width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(gelu(self.dwconv(self.fc1(x))))
        return out


class Block(nn.Module):
    """Transformer block; in training its two parts are left out with probability ``drop_path``."""

    def __init__(self, width: int, heads: int, ratio: int, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=_EPS)
        self.attn = Attention(width, heads, ratio)
        self.norm2 = nn.LayerNorm(width, eps=_EPS)
        self.mlp = Mlp(width)
        self.drop_path = drop_path

    def forward(self, x: Tensor) -> Tensor:
        x = x + self._dropped(self.attn(self.norm1(x)))
        return x + self._dropped(self.mlp(self.norm2(x)))

    def _dropped(self, x: Tensor) -> Tensor:
        """Zero for some images of the batch, scaled up for the others (stochastic depth)."""
        if not self.training or self.drop_path == 0:
            return x
        keep = 1 - self.drop_path
        return x * (x.new_empty(len(x), 1, 1, 1).bernoulli_(keep) / keep)


@dataclass(frozen=True)
class Stage:
    """One stage of one branch."""

    embed: PatchEmbed
    blocks: Sequence[Block]
    norm: nn.LayerNorm

    def __call__(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        for block in self.blocks:
            x = block(x)
        normed: Tensor = self.norm(x)
        return normed


class Encoder(nn.Module):
    """RGB and Noiseprint++ branch of the same shape, rectified by each other and fused per stage.

    One branch alone is a plain SegFormer encoder. Parameters have the names of the published
    checkpoint.
    """

    def __init__(
        self,
        settings: EncoderSettings,
        branches: Sequence[str] = BRANCHES,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.branches = tuple(branches)
        widths = settings.widths
        for branch in branches:
            for i, before in enumerate((3, *widths[:-1])):
                kernel, stride = (7, 4) if i == 0 else (3, 2)
                embed = PatchEmbed(before, widths[i], kernel, stride)
                self.add_module(f"{branch}patch_embed{i + 1}", embed)
        depths = settings.depths
        rates = iter(_rates(drop_path, sum(depths)))
        for i in range(STAGES):
            shape = widths[i], settings.heads[i], settings.sr_ratios[i]
            stage_rates = [next(rates) for _ in range(depths[i])]
            for branch in branches:
                blocks = nn.ModuleList(Block(*shape, rate) for rate in stage_rates)
                self.add_module(f"{branch}block{i + 1}", blocks)
                self.add_module(f"{branch}norm{i + 1}", nn.LayerNorm(widths[i], eps=_EPS))
        if self.fuses:
            self.FRMs = nn.ModuleList(FeatureRectify(width) for width in widths)
            self.FFMs = nn.ModuleList(
                FeatureFusion(width, heads)
                for width, heads in zip(widths, settings.heads, strict=True)
            )

    @property
    def fuses(self) -> bool:
        """Whether there are two branches."""
        return len(self.branches) > 1

    def forward(self, inputs: Mapping[str, Tensor]) -> list[Tensor]:
        """Maps (N, H/4 .. H/32, W/4 .. W/32, C) of the (N, H, W, 3) inputs of the branches."""
        maps = []
        streams = [inputs[branch] for branch in self.branches]
        for i in range(STAGES):
            streams = [
                self.stage(i, branch)(x) for branch, x in zip(self.branches, streams, strict=True)
            ]
            if self.fuses:
                streams = list(self.rectifier(i)(*streams))
            maps.append(self.fusion(i)(*streams) if self.fuses else streams[0])
        return maps

    def stage(self, i: int, branch: str) -> Stage:
        """Stage 0..3 of the branch with that prefix."""
        embed = getattr(self, f"{branch}patch_embed{i + 1}")
        return Stage(
            embed, getattr(self, f"{branch}block{i + 1}"), getattr(self, f"{branch}norm{i + 1}")
        )

    def rectifier(self, i: int) -> FeatureRectify:
        """What joins the branches after stage 0..3."""
        return cast(FeatureRectify, self.FRMs[i])

    def fusion(self, i: int) -> FeatureFusion:
        """What makes one map of the branches after stage 0..3."""
        return cast(FeatureFusion, self.FFMs[i])


def convolve(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """A convolution of a map (N, H, W, C)."""
    y: Tensor = layer(x.permute(0, 3, 1, 2))
    return y.permute(0, 2, 3, 1)


def _rates(last: float, blocks: int) -> list[float]:
    """From 0 to ``last`` in equal steps."""
    return [last * i / max(1, blocks - 1) for i in range(blocks)]
