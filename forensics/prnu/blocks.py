"""Square blocks of natural photos with their correlations: what a network predictor learns from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FIELD_STRIDE = 8  # pixels between the windows of a field, in both directions


@dataclass(frozen=True, slots=True, eq=False)
class ImageBlocks:
    """One photo and the correlations measured in windows of one size.

    The field, where there is one, holds every window whose top-left corner lies at a multiple of
    `FIELD_STRIDE`: shape ``((H - window) // 8 + 1, (W - window) // 8 + 1)``. NaN marks a window
    whose correlation is not defined. Raises `ValueError` where shapes do not fit together.
    """

    image_id: str
    window: int  # side of every block in pixels
    pixels: NDArray[np.uint8]  # (H, W, 3)
    positions: NDArray[np.int64]  # (n, 2): row and column of the top-left corners
    rho: NDArray[np.float32]  # (n,)
    saturation: NDArray[np.float32]  # (n,), 0..1, see `forensics.prnu.saturation`
    gain: float = 1.0  # how strongly the photo shows the fingerprint; 1 is the camera's average
    field: NDArray[np.float32] | None = None  # (h8, w8) correlations
    field_saturation: NDArray[np.float32] | None = None  # (h8, w8)

    def __post_init__(self) -> None:
        n = len(self.rho)
        if self.pixels.ndim != 3 or self.pixels.shape[2] != 3 or self.pixels.dtype != np.uint8:
            raise ValueError(f"{self.image_id}: pixels must be uint8 (H, W, 3)")
        if self.positions.shape != (n, 2) or self.saturation.shape != (n,):
            raise ValueError(
                f"{self.image_id}: {n} correlations need positions ({n}, 2) and saturation ({n},), "
                f"got {self.positions.shape} and {self.saturation.shape}"
            )
        room = [size - self.window for size in self.pixels.shape[:2]]
        if n and not ((self.positions >= 0) & (self.positions <= room)).all():
            raise ValueError(f"{self.image_id}: a block of {self.window} px leaves the photo")
        if self.field is None and self.field_saturation is None:
            return
        expected = tuple(max(r // FIELD_STRIDE + 1, 0) for r in room)
        for plane in (self.field, self.field_saturation):
            if plane is None or plane.shape != expected:
                raise ValueError(
                    f"{self.image_id}: field and field_saturation must both be {expected}, got "
                    f"{None if plane is None else plane.shape}"
                )
