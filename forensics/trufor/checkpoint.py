"""Reading and writing weights: the published files, and ours. Nothing is ever unpickled."""

from __future__ import annotations

import re
from collections.abc import Mapping

import safetensors.torch
from pydantic import ValidationError
from torch import Tensor

from forensics.records import UserError
from forensics.tensors import check, fill, read_state
from forensics.trufor.encoder import B2, STAGES, EncoderSettings
from forensics.trufor.model import TruForNetwork, TruForSettings
from forensics.trufor.noiseprint import Noiseprint

_SETTINGS = "trufor_settings"  # key of the metadata of our files


def load_network(data: bytes, where: str = "checkpoint") -> TruForNetwork:
    """The whole network from ``trufor.pth.tar`` as published, or from `to_safetensors`.

    The shape of the network follows from the tensors, or from the file's metadata. Raises
    `UserError`, which names the file by ``where``, for anything but a complete set of weights.
    """
    state, metadata = read_state(data, "state_dict", where)
    if _SETTINGS in metadata:
        try:
            settings = TruForSettings.model_validate_json(metadata[_SETTINGS])
        except ValidationError as error:
            raise UserError(f"{where}: its settings cannot be read: {error}") from None
    else:
        settings = inferred_settings(state, where)
    network = TruForNetwork(settings)
    fill(network, state, where)
    return network.eval()


def to_safetensors(network: TruForNetwork) -> bytes:
    """All weights with the settings beside them, for `load_network`."""
    state = {
        name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()
    }
    return safetensors.torch.save(state, {_SETTINGS: network.settings.model_dump_json()})


def load_noiseprint(data: bytes, where: str = "checkpoint") -> Noiseprint:
    """Noiseprint++ alone, from ``noiseprint++.th`` as published, or safetensors of those names."""
    state, _ = read_state(data, "network", where)
    net = Noiseprint(*_noiseprint_shape(state, "", where))
    fill(net, state, where)
    return net.eval()


def holds_noiseprint(data: bytes) -> bool:
    """Whether a file is for `load_noiseprint`, going by the names in it."""
    try:
        state, _ = read_state(data, "network", "")
    except UserError:
        return False
    return "0.weight" in state


def initialise_encoder(network: TruForNetwork, data: bytes, where: str = "checkpoint") -> None:
    """Every branch from SegFormer's ``mit_b*.pth``, trained on ImageNet.

    Changes ``network``. The classifier in those files (``head.*``) has no place here.
    """
    state, _ = read_state(data, "state_dict", where)
    backbone = network.backbone
    own = backbone.state_dict()
    part = re.compile(rf"{backbone.branches[0]}((?:patch_embed|block|norm)\d.*)")
    wanted = {found[1]: own[name] for name in own if (found := part.fullmatch(name))}
    given = {name: tensor for name, tensor in state.items() if not name.startswith("head.")}
    check(wanted, given, where)
    every = {f"{branch}{name}": given[name] for branch in backbone.branches for name in wanted}
    backbone.load_state_dict(every, strict=False)


def inferred_settings(state: Mapping[str, Tensor], where: str = "checkpoint") -> TruForSettings:
    """The settings that give tensors of these shapes; attention heads are SegFormer's."""
    widths, depths, ratios = [], [], []
    for i in range(1, STAGES + 1):
        widths.append(len(_tensor(state, f"backbone.patch_embed{i}.proj.weight", where)))
        block = re.compile(rf"backbone\.block{i}\.(\d+)\.norm1\.weight")
        depths.append(sum(block.fullmatch(name) is not None for name in state))
        reduction = state.get(f"backbone.block{i}.0.attn.sr.weight")
        ratios.append(1 if reduction is None else reduction.shape[-1])
    depth, channels = _noiseprint_shape(state, "dncnn.", where)
    try:
        encoder = EncoderSettings.model_validate(
            {"widths": widths, "depths": depths, "sr_ratios": ratios, "heads": B2.heads}
        )
        return TruForSettings(
            encoder=encoder,
            embedding=len(_tensor(state, "decode_head.linear_pred.weight", where)[0]),
            hidden=len(_tensor(state, "detection.0.weight", where)),
            noiseprint_depth=depth,
            noiseprint_channels=channels,
        )
    except ValidationError as error:
        reason = error.errors()[0]["msg"]
        raise UserError(f"{where}: no TruFor network has these shapes: {reason}") from None


def _noiseprint_shape(state: Mapping[str, Tensor], prefix: str, where: str) -> tuple[int, int]:
    """Depth and channels."""
    convolutions = [
        name
        for name, tensor in state.items()
        if name.startswith(prefix)
        and tensor.ndim == 4
        and name[len(prefix) :].partition(".")[0].isdigit()
    ]
    return max(2, len(convolutions)), len(_tensor(state, f"{prefix}0.weight", where))


def _tensor(state: Mapping[str, Tensor], name: str, where: str) -> Tensor:
    if name not in state or state[name].ndim == 0:
        raise UserError(f"{where}: it has no tensor {name!r}; is it a file of another network?")
    return state[name]
