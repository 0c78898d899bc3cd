"""The reference algorithm as published (polimi-ispl/prnu-python), in NumPy, SciPy and PyWavelets.

Slow and plain on purpose: float64 box filters, one inverse transform per channel, full spectrum.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pywt
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

Float = NDArray[Any]
GRAY = np.array([0.29893602, 0.58704307, 0.11402090], np.float32)


def noise_part(x: Float, noise_variance: float) -> Float:
    energy = x**2
    means = np.zeros((*x.shape, 4))
    for i, window in enumerate((3, 5, 7, 9)):
        means[..., i] = uniform_filter(energy, window, mode="constant")
    excess = means - noise_variance
    variance = ((excess + np.abs(excess)) / 2).min(axis=2)
    return np.asarray(x * noise_variance / (variance + noise_variance))


def channel_noise(rgb: NDArray[np.uint8], levels: int = 4, sigma: float = 5.0) -> Float:
    """(H, W, 3) float32."""
    noise = np.zeros(rgb.shape, np.float32)
    for channel in range(3):
        bands = pywt.wavedec2(rgb[..., channel].astype(np.float32), "db4", level=levels)
        shrunk = [tuple(noise_part(b, sigma**2) for b in level) for level in bands[1:]]
        inverse = pywt.waverec2([np.zeros_like(bands[0]), *shrunk], "db4")
        noise[..., channel] = inverse[: rgb.shape[0], : rgb.shape[1]]
    return noise


def zero_mean_total(x: Float) -> Float:
    x = x.copy()
    for lattice in (x[i::2, j::2] for i in (0, 1) for j in (0, 1)):
        if lattice.size:
            lattice -= lattice.mean()
            rows, columns = lattice.mean(axis=1, keepdims=True), lattice.mean(axis=0, keepdims=True)
            lattice -= rows + columns
    return x


def wiener_dft(x: Float) -> Float:
    spectrum = np.fft.fft2(x)
    magnitude = np.abs(spectrum / np.sqrt(x.size))
    kept = noise_part(magnitude, float(x.std(ddof=1)) ** 2)
    ratio = np.divide(kept, magnitude, out=np.zeros_like(kept), where=magnitude > 0)
    return np.asarray(np.real(np.fft.ifft2(spectrum * ratio)), np.float32)


def noise_residual(rgb: NDArray[np.uint8], levels: int = 4, sigma: float = 5.0) -> Float:
    return wiener_dft(zero_mean_total(channel_noise(rgb, levels, sigma) @ GRAY))
