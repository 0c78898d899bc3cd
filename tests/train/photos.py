"""Small photos whose correlations are known."""

from __future__ import annotations

import numpy as np

from forensics.prnu.blocks import ImageBlocks

WINDOW = 64


def photo(number: int, side: int = 104, gain: float = 1.0) -> ImageBlocks:
    """A brightness ramp in noise; windows correlate in proportion to their brightness."""
    rng = np.random.default_rng(number)
    ramp = np.linspace(*rng.uniform(40, 220, 2), side)[:, None, None]
    pixels = np.rint(ramp + rng.normal(0, 3, (side, side, 3))).clip(0, 255).astype(np.uint8)
    along = (side - WINDOW) // 8 + 1
    field = np.empty((along, along), np.float32)
    for i, j in np.ndindex(field.shape):
        field[i, j] = gain * pixels[8 * i :, 8 * j :][:WINDOW, :WINDOW].mean() / 4000
    positions = 8 * rng.integers(0, along, (12, 2))
    return ImageBlocks(
        image_id=f"photo{number}",
        window=WINDOW,
        pixels=pixels,
        positions=positions,
        rho=field[tuple(positions.T // 8)],
        saturation=np.zeros(12, np.float32),
        gain=gain,
        field=field,
        field_saturation=np.zeros_like(field),
    )
