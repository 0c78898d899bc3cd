"""Made-up images whose forged parts can be seen, and photos whose cameras can."""

from __future__ import annotations

from functools import partial

import numpy as np

from forensics.train.trufor.examples import Example, Pair
from forensics.train.trufor.patches import PhotoCrops, cut_crops
from forensics.train.trufor.settings import ContrastiveSettings
from forensics.trufor.encoder import EncoderSettings
from forensics.trufor.model import TruForNetwork, TruForSettings

TINY = TruForSettings(
    encoder=EncoderSettings(widths=(8, 8, 16, 16), depths=(1, 1, 1, 1), heads=(1, 1, 2, 2)),
    embedding=16,
    hidden=64,
    noiseprint_depth=3,
    noiseprint_channels=8,
)


def pair(seed: int, forged: bool, side: int = 96) -> Pair:
    rng = np.random.default_rng(seed)
    noise = rng.normal(0, 3, (side, side, 3))
    mask = np.zeros((side, side), np.bool_)
    if forged:
        y, x = rng.integers(0, side // 2, 2)
        mask[y : y + side // 2, x : x + side // 2] = True
        noise[mask] += 40 * (-1) ** (np.arange(side) // 3)[np.nonzero(mask)[1], None]
    rgb = rng.uniform(90, 160) + noise
    return np.rint(rgb).clip(0, 255).astype(np.uint8), mask


def examples(count: int, source: str = "made", side: int = 96, first: int = 0) -> list[Example]:
    """So many images, every second of them forged."""
    return [
        Example(
            f"{source}-{i:03d}",
            source,
            i % 2 == 1,
            None,
            partial(pair, first + i, i % 2 == 1, side),
        )
        for i in range(count)
    ]


def network(seed: int = 0) -> TruForNetwork:
    return TruForNetwork(TINY, seed=seed)


def photos(settings: ContrastiveSettings, cameras: int = 3, each: int = 8) -> list[PhotoCrops]:
    """Flat photos of different brightness; each camera has a pattern of its own."""
    found = []
    for camera in range(cameras):
        pattern = np.random.default_rng(camera).normal(0, 12, (72, 72, 3))
        for number in range(each):
            rng = np.random.default_rng([camera, number])
            rgb = rng.uniform(80, 170) + pattern + rng.normal(0, 4, pattern.shape)
            pixels = np.rint(rgb).clip(0, 255).astype(np.uint8)
            found.append(cut_crops(f"{camera}-{number}", f"camera{camera}", pixels, settings))
    return found
