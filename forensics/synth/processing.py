"""What phones do to a photo between sensor and file: noise reduction and sharpening.

Both change how much of the fingerprint survives, and where: noise reduction smooths flat regions
and spares edges and texture, the more so the noisier the photo.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import correlate1d, uniform_filter

from forensics.records import Rgb
from forensics.synth.scenes import Plane, Scene

_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
# Luma, and the colour differences red - luma and blue - luma.
_OPPONENT = np.stack([_LUMA, [1, 0, 0] - _LUMA, [0, 0, 1] - _LUMA]).astype(np.float32)
_FROM_OPPONENT = np.linalg.inv(_OPPONENT).astype(np.float32)
_LUMA_WINDOW, _COLOUR_WINDOW = 5, 9  # pixels: noise in colour is seen at larger scales


def reduce_noise(
    rgb: Scene, shot: NDArray[np.float32], floor: NDArray[np.float32], strength: float
) -> Scene:
    """Linear light (H, W, 3), float32, with its noise smoothed where nothing stands out of it.

    The noise variance of channel c at brightness x is ``shot[c]·x + floor[c]``, in units of the
    light squared. Local-statistics filter (Lee 1980, doi:10.1109/TPAMI.1980.4766994) on luma and
    colour differences: a deviation from the local mean keeps ``1 - strength·noise / variance``,
    the local variance being at least the noise. Strength 0 changes nothing, 1 leaves flat regions
    without noise; colour gets twice the strength, at most 1.
    """
    planes: Scene = np.matmul(rgb, _OPPONENT.T)
    level = np.maximum(_mean(planes[..., 0], _LUMA_WINDOW), 0)
    for i, window in enumerate((_LUMA_WINDOW, _COLOUR_WINDOW, _COLOUR_WINDOW)):
        squares = _OPPONENT[i] ** 2
        noise = np.float32(squares @ shot) * level + np.float32(squares @ floor)
        share = strength if i == 0 else min(1.0, 2 * strength)
        planes[..., i] = _shrink(planes[..., i], noise, window, share)
    smooth: Scene = np.matmul(planes, _FROM_OPPONENT.T)
    return smooth


def sharpen(rgb: Rgb, amount: float) -> Rgb:
    """Unsharp mask, uint8 (H, W, 3): ``amount`` times luma's difference to a 3x3 blur is added."""
    luma = rgb.astype(np.float32) @ _LUMA
    blurred = luma
    for axis in (0, 1):
        blurred = correlate1d(blurred, [0.25, 0.5, 0.25], axis, mode="nearest")
    detail = np.float32(amount) * (luma - blurred)
    sharp: Rgb = np.rint(np.clip(rgb + detail[..., None], 0, 255)).astype(np.uint8)
    return sharp


def _shrink(plane: Plane, noise: Plane, window: int, strength: float) -> Plane:
    mean = _mean(plane, window)
    variance = np.maximum(_mean(plane * plane, window) - mean * mean, noise)
    kept = 1 - np.float32(strength) * np.divide(
        noise, variance, out=np.zeros_like(noise), where=variance > 0
    )
    return mean + kept * (plane - mean)


def _mean(plane: Plane, window: int) -> Plane:
    smooth: Plane = uniform_filter(plane, window, mode="nearest")
    return smooth
