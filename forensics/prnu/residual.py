"""The noise residual W of an image: what a denoiser removes, cleaned of what cameras share.

Mihçak wavelet filter and the clean-up of Chen, Fridrich, Goljan, Lukáš 2008,
doi:10.1109/TIFS.2007.916285; the numbers are those of polimi-ispl/prnu-python.

The filter is linear after its shrinkage, so the gray residual needs one inverse transform: the
weighted sum of the channels is taken over their shrunk coefficients.
"""

from __future__ import annotations

import torch

from forensics.arrays import Array, like, to_tensor
from forensics.prnu.cleanup import centre_, flatten_spectrum_, wiener_dft, zero_mean_total
from forensics.prnu.shrinkage import add_noise_part
from forensics.prnu.wavelet import analyse, coefficients, max_level, synthesise

__all__ = ["GRAY", "channel_noise", "gray", "noise_residual", "wiener_dft", "zero_mean_total"]

GRAY = (0.29893602, 0.58704307, 0.11402090)
"""Weights of red, green and blue in a gray value."""


def noise_residual(rgb_uint8: Array, sigma: float = 5.0, levels: int = 4) -> Array:
    """Gray noise residual: wavelet noise, ``zero_mean_total``, ``wiener_dft``.

    Args:
        rgb_uint8: (H, W, 3) or gray (H, W), 0..255 on the sensor grid; integers or floats.
        sigma: standard deviation of the noise looked for, in gray levels; positive.
        levels: of the wavelet transform; fewer where the image is too small for them.

    Returns:
        float32 (H, W), gray levels. An image without texture (one value per channel) and one with
        a side under 14 pixels, where no level fits, give zeros.

    Raises:
        ValueError: another shape, an empty image, or sigma or levels not positive.
    """
    pixels = _checked(rgb_uint8, sigma, levels)
    weights = GRAY if pixels.shape[2] == 3 else (1.0,)
    noise = wavelet_noise(pixels, weights, sigma, levels)
    return like(rgb_uint8, flatten_spectrum_(centre_(noise)))


def channel_noise(rgb: Array, sigma: float = 5.0, levels: int = 4) -> Array:
    """Wavelet noise of every channel, before any clean-up: float32 (3, H, W), (1, H, W) for gray.

    Arguments and errors as ``noise_residual``.
    """
    pixels = _checked(rgb, sigma, levels)
    noise = torch.empty(pixels.shape[2], *pixels.shape[:2], device=pixels.device)
    for channel in range(pixels.shape[2]):
        single = pixels[..., channel : channel + 1]
        noise[channel] = wavelet_noise(single, (1.0,), sigma, levels)
    return like(rgb, noise)


def gray(rgb: Array) -> Array:
    """Weighted sum of the channels of (H, W, 3), or gray (H, W) as it is: float32 (H, W)."""
    pixels = to_tensor(rgb)
    if pixels.ndim == 2:
        return like(rgb, pixels.to(torch.float32, copy=True))
    if pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ValueError(f"an image is (H, W, 3) or (H, W), not {tuple(pixels.shape)}")
    total = torch.zeros(pixels.shape[:2], device=pixels.device)
    for channel, weight in enumerate(GRAY):
        total.add_(pixels[..., channel], alpha=weight)
    return like(rgb, total)


def _checked(rgb: Array, sigma: float, levels: int) -> torch.Tensor:
    """The pixels as (H, W, C)."""
    pixels = to_tensor(rgb)
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 3) or pixels.numel() == 0:
        raise ValueError(f"an image is (H, W, 3) or (H, W), not {tuple(pixels.shape)}")
    if not sigma > 0 or levels < 1:
        raise ValueError(f"sigma and levels must be positive, got {sigma} and {levels}")
    return pixels


def wavelet_noise(
    pixels: torch.Tensor, weights: tuple[float, ...], sigma: float, levels: int
) -> torch.Tensor:
    """Weighted sum of the channels' noise: pixels (H, W, C), one weight per channel, to (H, W)."""
    sizes = [(int(pixels.shape[0]), int(pixels.shape[1]))]
    for _ in range(min(levels, max_level(*sizes[0]))):
        sizes.append((coefficients(sizes[-1][0]), coefficients(sizes[-1][1])))
    noise = [torch.zeros(4, *size, device=pixels.device) for size in sizes[1:]]
    buffers = [torch.empty_like(bands) for bands in noise]
    for channel, weight in enumerate(weights):
        plane = pixels[..., channel]
        offset = float(plane[0, 0])  # makes a constant image exactly zero
        for bands, total in zip(buffers, noise, strict=True):
            analyse(plane, out=bands, offset=offset)
            for band, out in zip(bands[1:], total[1:], strict=True):
                add_noise_part(out, band, sigma**2, weight)
            plane, offset = bands[0], 0.0
    del buffers
    for level in range(len(noise) - 1, 0, -1):
        noise[level - 1][0] = synthesise(noise[level], *sizes[level])
        del noise[level:]
    if not noise:
        return torch.zeros(sizes[0], device=pixels.device)
    return synthesise(noise[0], *sizes[0])
