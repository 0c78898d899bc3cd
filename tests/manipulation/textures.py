"""Patches whose neighbours differ by little, as in photos, and what a blur makes of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from forensics.manipulation.operations import Manipulation


def texture(*shape: int, seed: int = 0) -> NDArray[np.uint8]:
    """Smooth structure with a little noise, in each of the last two axes' planes."""
    rng = np.random.default_rng([seed, *shape])
    smooth = ndimage.gaussian_filter(
        rng.standard_normal(shape), [0] * (len(shape) - 2) + [3, 3], mode="mirror"
    )
    values = 128 + 250 * smooth + rng.normal(0, 0.8, shape)
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def blurred(patches: NDArray[np.uint8]) -> NDArray[np.uint8]:
    blur = Manipulation("blur", 0.75)
    return np.stack([blur.apply(patch) for patch in patches])
