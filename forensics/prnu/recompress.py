"""An image as it would be had it been saved as JPEG once more."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def recompress(rgb: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """The pixels after a JPEG file of that quality, made in memory.

    The standard (IJG) tables and halved chrominance (4:2:0), which is what Pillow and most software
    write unless told otherwise.

    Args:
        rgb: uint8 (H, W, 3).
        quality: 1..100.

    Returns:
        uint8 (H, W, 3), a new array.

    Raises:
        ValueError: other pixels or another quality.
    """
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or 0 in rgb.shape:
        raise ValueError(f"JPEG needs uint8 (H, W, 3) pixels, got {rgb.dtype} {rgb.shape}")
    if not 1 <= quality <= 100:
        raise ValueError(f"JPEG quality must be 1..100, got {quality}")
    file = io.BytesIO()
    Image.fromarray(rgb).save(file, "JPEG", quality=quality, subsampling="4:2:0")
    with Image.open(file) as image:
        return np.array(image)
