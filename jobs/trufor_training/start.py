"""The weights that a phase of TruFor's training starts from."""

from __future__ import annotations

import safetensors.torch
import torch
from pydantic import Field
from torch import nn

from forensics import storage
from forensics.config import Settings
from forensics.records import UserError
from forensics.train.trufor.residual_start import start_as_residual
from forensics.trufor.checkpoint import (
    initialise_encoder,
    load_network,
    load_noiseprint,
    to_safetensors,
)
from forensics.trufor.model import TruForNetwork, TruForSettings
from forensics.trufor.noiseprint import Noiseprint


class StartSettings(Settings):
    """Files with weights, as URIs or ``models:/name/version``; what is not given starts at random,
    Noiseprint++ at a high-pass residual."""

    checkpoint: str | None = Field(
        None, description="phase 1: a Noiseprint++; else a whole network, for 3 that of phase 2"
    )
    noiseprint: str | None = Field(
        None, description="phase 2: Noiseprint++ of phase 1, or noiseprint++.th as published"
    )
    segformer: str | None = Field(
        None, description="phase 2: encoder trained on ImageNet, mit_b*.pth as published"
    )


def starting_weights(phase: int, start: StartSettings, network: TruForSettings, seed: int) -> bytes:
    """The network to train, as safetensors: for phase 1 a Noiseprint++, else all of TruFor.

    A file that holds a network decides its shape, else ``network`` does. Raises `UserError` for
    files that do not fit or are missing, and `StorageError`.
    """
    if phase == 1:
        return noiseprint_to_bytes(_noiseprint(start, network, seed))
    if start.checkpoint is not None:
        whole = load_network(storage.read(start.checkpoint), start.checkpoint)
    elif phase == 3:
        raise UserError(
            "phase 3 teaches a network that localizes how far to trust itself; give "
            "start.checkpoint, the output of phase 2"
        )
    elif start.noiseprint is None:
        raise UserError(
            "phase 2 builds on Noiseprint++; give start.noiseprint (the output of phase 1, or "
            "noiseprint++.th as published), or start.checkpoint, a whole network"
        )
    else:
        whole = TruForNetwork(_around(network, start.noiseprint), seed=seed)
    if phase == 2 and start.noiseprint is not None:
        _put_noiseprint(whole, start.noiseprint)
    if phase == 2 and start.segformer is not None:
        initialise_encoder(whole, storage.read(start.segformer), start.segformer)
    return to_safetensors(whole)


def noiseprint_to_bytes(noiseprint: nn.Module) -> bytes:
    """Noiseprint++ alone, for `load_noiseprint`."""
    state = noiseprint.state_dict().items()
    return safetensors.torch.save({name: t.detach().cpu().contiguous() for name, t in state})


def _noiseprint(start: StartSettings, network: TruForSettings, seed: int) -> Noiseprint:
    if start.checkpoint is not None:
        return load_noiseprint(storage.read(start.checkpoint), start.checkpoint)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        noiseprint = Noiseprint(network.noiseprint_depth, network.noiseprint_channels)
    start_as_residual(noiseprint)
    return noiseprint


def _around(network: TruForSettings, uri: str) -> TruForSettings:
    """The settings with the Noiseprint++ of a file."""
    convolutions = [m for m in _read(uri) if isinstance(m, nn.Conv2d)]
    shape = {
        "noiseprint_depth": len(convolutions),
        "noiseprint_channels": convolutions[0].out_channels,
    }
    return network.model_copy(update=shape)


def _put_noiseprint(whole: TruForNetwork, uri: str) -> None:
    noiseprint = _read(uri)
    try:
        whole.dncnn.load_state_dict(noiseprint.state_dict())
    except RuntimeError:
        raise UserError(
            f"{uri}: this Noiseprint++ has another shape than that of start.checkpoint"
        ) from None


def _read(uri: str) -> Noiseprint:
    return load_noiseprint(storage.read(uri), uri)
