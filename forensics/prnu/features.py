"""Four hand-made features that say how much of the fingerprint an image region can show.

Intensity, texture, signal flattening and texture-intensity of Chen, Fridrich, Goljan, Lukáš 2008,
doi:10.1109/TIFS.2007.916285. Each is a mean over the window of a quantity per pixel, so a dense map
costs four box filters.
"""

from __future__ import annotations

import torch

from forensics.arrays import Array, like, to_tensor
from forensics.boxfilter import box_mean
from forensics.prnu.residual import gray
from forensics.prnu.wavelet import dwt2, idwt2, max_level

FEATURES = ("intensity", "texture", "flattening", "texture_intensity")
DESIGN_TERMS = 15

_BRIGHT = 250.0  # above it the sensor nears saturation and the fingerprint fades
_FLAT = 0.03  # a local deviation below this part of the intensity is flat
_NEIGHBOURHOOD = 5  # pixels
_LEVELS = 2


def feature_planes(rgb: Array) -> Array:
    """The quantities per pixel whose window means are the features.

    Args:
        rgb: uint8 or float (H, W, 3), 0..255.

    Returns:
        float32 (4, H, W) in the order of `FEATURES`: attenuation ``I/250`` (``exp(−(I−250)²/6)``
        above 250), ``1/(1 + var5x5(highpass(I)))``, whether the 5x5 deviation is below 0.03 I, and
        the product of the first two; all 0..1. ``I`` is the gray intensity.

    Raises:
        ValueError: not (H, W, 3).
    """
    t = to_tensor(rgb)
    if t.ndim != 3 or t.shape[2] != 3 or 0 in t.shape:
        raise ValueError(f"features need (H, W, 3) pixels, got shape {tuple(t.shape)}")
    intensity = gray(t)
    planes = intensity.new_empty(4, *intensity.shape)
    planes[0] = torch.where(
        intensity > _BRIGHT, torch.exp(-((intensity - _BRIGHT) ** 2) / 6), intensity / _BRIGHT
    )
    planes[1] = 1 / (1 + _local_variance(_high_pass(intensity)))
    planes[2] = _local_variance(intensity).sqrt() < _FLAT * intensity
    planes[3] = planes[0] * planes[1]
    return like(rgb, planes)


def feature_maps(planes: Array, window: int, stride: int = 1) -> Array:
    """Features of the window around every cell: (ceil(H/stride), ceil(W/stride), 4), 0..1."""
    maps = box_mean(to_tensor(planes), window, stride).movedim(0, -1).contiguous()
    return like(planes, maps)


def block_features(blocks: Array) -> Array:
    """Features of whole blocks: uint8 (N, w, w, 3) in, float32 (N, 4) out."""
    t = to_tensor(blocks)
    if t.ndim != 4:
        raise ValueError(f"blocks must be (N, w, w, 3), got shape {tuple(t.shape)}")
    if len(t) == 0:
        return like(blocks, torch.empty(0, len(FEATURES), device=t.device))
    return like(blocks, torch.stack([feature_planes(block).mean(dim=(1, 2)) for block in t]))


def design(features: Array) -> Array:
    """(..., 4) features to (..., 15) terms: 1, the four, and their ten second-order products."""
    f = to_tensor(features)
    rows, columns = torch.triu_indices(len(FEATURES), len(FEATURES), device=f.device)
    terms = [torch.ones_like(f[..., :1]), f, f[..., rows] * f[..., columns]]
    return like(features, torch.cat(terms, dim=-1))


def _high_pass(intensity: torch.Tensor) -> torch.Tensor:
    """Without the approximation band; zero throughout where the image is too small to have one."""
    height, width = intensity.shape
    levels = min(_LEVELS, max_level(height, width))
    if levels == 0:
        return torch.zeros_like(intensity)
    approximation, details = dwt2(intensity, levels)
    return idwt2(torch.zeros_like(approximation), details, (height, width))


def _local_variance(x: torch.Tensor) -> torch.Tensor:
    x = x - x.mean()  # small numbers keep the digits of the difference of squares
    mean = box_mean(x, _NEIGHBOURHOOD)
    return box_mean(x.square(), _NEIGHBOURHOOD).addcmul_(mean, mean, value=-1).clamp_(min=0)
