"""One image through the whole network."""

from __future__ import annotations

from typing import Final, Literal, get_args

import torch
from torch import Tensor

from forensics.records import UserError
from forensics.trufor.encoder import NOISEPRINT_BRANCH, RGB_BRANCH, STAGES
from forensics.trufor.inference.decoder import Decoders
from forensics.trufor.inference.encoder import embed_plane, run_blocks
from forensics.trufor.inference.fusion import Fusion, rectify
from forensics.trufor.inference.noiseprint import NoiseprintPlane
from forensics.trufor.model import SCALE, Output, TruForNetwork, enlarged
from forensics.trufor.pooling import statistics

Precision = Literal["float32", "bfloat16", "float16"]

_DTYPES: Final = {name: getattr(torch, name) for name in get_args(Precision)}


class Engine:
    """A trained network for inference: folded weights, results strip by strip.

    float32 is exact, to rounding; bfloat16 and float16 hold for products and convolutions, while
    sums over layers and over the image stay float32.
    """

    def __init__(self, network: TruForNetwork, precision: Precision = "float32") -> None:
        if precision not in _DTYPES:
            raise UserError(f"precision is one of {', '.join(_DTYPES)}, not {precision!r}")
        self._network = network.eval().requires_grad_(False)
        self._dtype = _DTYPES[precision]
        self._noiseprint = NoiseprintPlane(network.dncnn)
        heads, backbone = network.settings.encoder.heads, network.backbone
        self._fusions = [
            Fusion(backbone.fusion(i), count) for i, count in enumerate(heads) if backbone.fuses
        ]
        self._decoders = Decoders([network.decode_head, network.decode_head_conf])
        ratios = network.settings.encoder.sr_ratios
        self.min_side = max(_least(4 * 2**i, ratio) for i, ratio in enumerate(ratios))
        """Pixels that the smaller side of an image must have."""

    @torch.inference_mode()
    def __call__(self, pixels: Tensor) -> Output:
        """uint8 (H, W, 3) on the network's device to the outputs of a batch of one."""
        device = pixels.device
        half = torch.autocast(device.type, self._dtype, enabled=self._dtype != torch.float32)
        with half, torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            return self._run(pixels)

    def _run(self, pixels: Tensor) -> Output:
        size = pixels.shape[:2]
        rgb = pixels[None].to(torch.float32).div_(SCALE)
        noiseprint = self._noiseprint(rgb)
        maps = self._encode(self._network.normalised(rgb), noiseprint)
        both = self._decoders(maps)
        del maps
        logits = enlarged(both, size)
        logits, confidence = logits[:, :-1], logits[:, -1:]
        score = self._network.detection(statistics(logits, confidence))
        return Output(logits, confidence, score.float(), noiseprint.permute(0, 3, 1, 2))

    def _encode(self, rgb: Tensor, noiseprint: Tensor) -> list[Tensor]:
        backbone, maps = self._network.backbone, []
        streams = {RGB_BRANCH: rgb, NOISEPRINT_BRANCH: noiseprint}
        for i in range(STAGES):
            for branch in backbone.branches:
                stage, x = backbone.stage(i, branch), streams[branch]
                plane = i == 0 and branch == NOISEPRINT_BRANCH
                x = embed_plane(stage.embed, x) if plane else stage.embed(x)
                streams[branch] = run_blocks(stage, x.float())
            if backbone.fuses:
                x, y = streams.values()
                rectify(backbone.rectifier(i), x, y)
                maps.append(self._fusions[i](x, y))
            else:
                maps.append(streams[backbone.branches[0]])
        return maps


def _least(stride: int, ratio: int) -> int:
    """Side of the smallest image whose map, one in ``stride`` pixels, has ``ratio`` rows."""
    return stride * (ratio - 1) + 1
