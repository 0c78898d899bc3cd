"""Made-up weights that any implementation can make again, from the names and shapes alone."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence

import numpy as np
import torch

from forensics.trufor.encoder import EncoderSettings
from forensics.trufor.model import TruForNetwork, TruForSettings


def made_up(shapes: Iterable[tuple[str, Sequence[int]]], seed: int) -> dict[str, torch.Tensor]:
    """The state dict whose outputs of the published network are the reference."""
    return {name: _tensor(name, tuple(shape), seed) for name, shape in shapes}


def _tensor(name: str, shape: tuple[int, ...], seed: int) -> torch.Tensor:
    rng = np.random.RandomState((zlib.crc32(name.encode()) + seed) % 2**32)
    count = int(np.prod(shape)) if shape else 1
    n = rng.standard_normal(count).reshape(shape)
    if name.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.int64)
    if name.endswith("running_var"):
        n = 1 + 0.1 * np.abs(n)
    elif name.endswith("running_mean"):
        n = 0.02 * n
    elif name.endswith("weight") and len(shape) == 1:
        n = 1 + 0.05 * n
    elif name.endswith("bias"):
        n = 0.05 * n
    else:
        n = n * np.sqrt(2 / np.prod(shape[1:]))
    return torch.from_numpy(np.asarray(n, dtype=np.float32))


TINY = TruForSettings(
    encoder=EncoderSettings(widths=(8, 8, 16, 16), depths=(1, 2, 1, 1), heads=(1, 2, 2, 4)),
    embedding=16,
    hidden=8,
    noiseprint_depth=4,
    noiseprint_channels=8,
)


def tiny_network(seed: int = 0, settings: TruForSettings = TINY) -> TruForNetwork:
    """A network small enough for tests, with made-up weights, in eval mode."""
    network = TruForNetwork(settings)
    shapes = [(name, tensor.shape) for name, tensor in network.state_dict().items()]
    network.load_state_dict(made_up(shapes, seed))
    return network.eval()
