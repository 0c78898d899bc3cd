"""Trained networks: how they are stored, and the one that comes with the project."""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import dataclass
from importlib import resources

import safetensors.torch
from pydantic import ValidationError
from safetensors import SafetensorError

from forensics import storage
from forensics.manipulation.base import NetworkSettings
from forensics.manipulation.network import ResidualNetwork
from forensics.records import UserError

DEFAULT = "residual-16.safetensors"
"""All sixteen classes; docs/cards/manipulation.md tells what it was trained on."""

_SETTINGS = "settings"


@dataclass(frozen=True, slots=True)
class Trained:
    """A network and the SHA-256 (hex) of the file it is from."""

    network: ResidualNetwork
    digest: str


def to_bytes(network: ResidualNetwork) -> bytes:
    """The network as a safetensors file; its settings are in the file's metadata, as JSON."""
    tensors = {name: value.cpu().contiguous() for name, value in network.state_dict().items()}
    return safetensors.torch.save(tensors, {_SETTINGS: network.settings.model_dump_json()})


def from_bytes(data: bytes, source: str) -> Trained:
    """The network back. Raises `UserError`, naming ``source``, where ``data`` is no such file."""
    try:
        tensors = safetensors.torch.load(data)
        (length,) = struct.unpack_from("<Q", data)
        metadata = json.loads(data[8 : 8 + length]).get("__metadata__") or {}
        network = ResidualNetwork(NetworkSettings.model_validate_json(metadata[_SETTINGS]))
        network.load_state_dict(tensors)
    except (SafetensorError, KeyError, ValidationError, RuntimeError) as error:
        raise UserError(
            f"{source} holds no trained manipulation network: {str(error).splitlines()[0]}"
        ) from None
    return Trained(network.eval(), hashlib.sha256(data).hexdigest())


def load(uri: str | None = None) -> Trained:
    """The network of a file, local or on S3; the one that comes with the project if None.

    Raises `UserError` where the file is none, and storage errors where it cannot be read.
    """
    if uri is not None:
        return from_bytes(storage.read(uri), uri)
    return from_bytes(resources.files(__package__).joinpath(DEFAULT).read_bytes(), DEFAULT)
