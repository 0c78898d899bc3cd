"""Made-up images whose forged parts can be seen: noise of another strength in a square."""

from __future__ import annotations

from functools import partial

import numpy as np

from forensics.train.trufor.examples import Example, Pair


def pair(seed: int, forged: bool, side: int = 96) -> Pair:
    rng = np.random.default_rng(seed)
    noise = rng.normal(0, 3, (side, side, 3))
    mask = np.zeros((side, side), np.bool_)
    if forged:
        y, x = rng.integers(0, side // 2, 2)
        mask[y : y + side // 2, x : x + side // 2] = True
        noise[mask] *= 12
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
