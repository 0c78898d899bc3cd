"""Networks and pictures small enough for tests."""

from __future__ import annotations

import numpy as np

from forensics.origin.network import NetworkSettings, OriginNetwork
from forensics.records import Rgb

CLASSES = ("npi", "cgg", "dgi")
SIDE = 32
TINY = NetworkSettings(classes=CLASSES, natural="npi", side=SIDE, width=1 / 16)


def tiny_network(seed: int = 0, settings: NetworkSettings = TINY) -> OriginNetwork:
    """In eval mode, with running statistics that are not those it was made with."""
    network = OriginNetwork(settings, seed).train()
    rng = np.random.default_rng(seed)
    import torch

    for _ in range(2):
        network(torch.from_numpy(rng.integers(0, 256, (8, *(settings.side,) * 2, 3), np.uint8)))
    return network.eval()


def of_class(label: int, seed: int, height: int = 80, width: int = 100) -> Rgb:
    """Pictures whose origin shows: noise, noise made smooth, noise with a pattern."""
    rng = np.random.default_rng([label, seed])
    rgb = rng.normal(120, 30, (height, width, 3))
    if label == 1:
        rgb = (rgb + np.roll(rgb, 1, 0) + np.roll(rgb, 1, 1) + np.roll(rgb, (1, 1), (0, 1))) / 2
        rgb -= 120
    if label == 2:
        rgb[::2] += 35
        rgb[:, ::2] -= 35
    return rgb.clip(0, 255).astype(np.uint8)
