"""Files of trained networks, and VGG-19's first layers from a file that the user has."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import safetensors.torch
from pydantic import ValidationError
from torch import Tensor, nn

from forensics import storage
from forensics.origin.network import FIXED, NetworkSettings, OriginNetwork
from forensics.records import UserError
from forensics.tensors import check, read_state

_SETTINGS = "origin_settings"  # key of the metadata
_OURS = ("layers.0.0.weight", "layers.0.0.bias", "layers.1.0.weight", "layers.1.0.bias")
_TORCHVISION = ("features.0.weight", "features.0.bias", "features.2.weight", "features.2.bias")


@dataclass(frozen=True, slots=True)
class Trained:
    """A network and the SHA-256 (hex) of the file it is from."""

    network: OriginNetwork
    digest: str


def to_bytes(network: OriginNetwork) -> bytes:
    """The network as a safetensors file; its settings are in the metadata, as JSON."""
    tensors = {name: t.detach().cpu().contiguous() for name, t in network.state_dict().items()}
    return safetensors.torch.save(tensors, {_SETTINGS: network.settings.model_dump_json()})


def from_bytes(data: bytes, where: str) -> Trained:
    """The network back. Raises `UserError`, which names ``where``, if ``data`` is no such file."""
    state, metadata = read_state(data, "state_dict", where)
    if _SETTINGS not in metadata:
        raise UserError(
            f"{where} holds no trained origin network (its settings are missing); give a file "
            "that jobs.train_origin wrote"
        )
    try:
        settings = NetworkSettings.model_validate_json(metadata[_SETTINGS])
    except ValidationError as error:
        reason = error.errors()[0]["msg"]
        raise UserError(f"{where}: the settings in it cannot be read: {reason}") from None
    network = OriginNetwork(settings)
    check(network.state_dict(), state, where)
    network.load_state_dict(state)
    return Trained(network.eval(), hashlib.sha256(data).hexdigest())


def load(uri: str) -> Trained:
    """The network of a file, local or on S3. Raises as `from_bytes`, and storage errors."""
    return from_bytes(storage.read(uri), uri)


def fix_first_layers(network: OriginNetwork, data: bytes, where: str) -> None:
    """Puts VGG-19's ``conv1_1`` and ``conv1_2`` where the scenario vgg has them.

    Changes ``network``.

    Args:
        network: of the scenario vgg.
        data: a PyTorch file (``vgg19-*.pth`` as torchvision publishes it) or safetensors file with
            torchvision's names (``features.0.weight`` …) or our own (``layers.0.0.weight`` …);
            other tensors in it are ignored. The weights must be for RGB in 0..1, brought to mean 0
            and deviation 1 of ImageNet, as torchvision's are.
        where: names the file in errors.

    Raises:
        UserError: the file does not hold them, or the network is of the other scenario.
    """
    if network.settings.scenario != "vgg":
        raise UserError("VGG-19's layers belong to the scenario vgg; this network's is ada")
    state, _ = read_state(data, "state_dict", where)
    names = next((n for n in (_OURS, _TORCHVISION) if all(name in state for name in n)), None)
    if names is None:
        raise UserError(
            f"{where}: it holds neither {_TORCHVISION[0]} … {_TORCHVISION[-1]}, as VGG-19 of "
            f"torchvision, nor {_OURS[0]} … {_OURS[-1]}"
        )
    given = {ours: state[name] for ours, name in zip(_OURS, names, strict=True)}
    check(_fixed(network), given, where)
    network.load_state_dict(given, strict=False)


def _fixed(network: nn.Module) -> Mapping[str, Tensor]:
    state = network.state_dict()
    return {name: state[name] for name in _OURS[: 2 * FIXED]}
