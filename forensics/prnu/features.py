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
_REACH = 2  # pixels to each side of the 5x5 neighbourhood
_STRIP = 64  # rows worked on at once: the temporaries stay in cache
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
    high_pass = _high_pass(intensity)
    height = intensity.shape[0]
    planes = intensity.new_empty(4, *intensity.shape)
    rows = _STRIP if intensity.device.type == "cpu" else height
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        bright = intensity[top:bottom]
        strip = planes[:, top:bottom]
        torch.mul(bright, 1 / _BRIGHT, out=strip[0])
        saturated = bright > _BRIGHT
        strip[0][saturated] = torch.exp((bright[saturated] - _BRIGHT).square_() / -6)
        torch.reciprocal(_local_variance(high_pass, top, bottom).add_(1), out=strip[1])
        strip[2] = _local_variance(intensity, top, bottom) < (_FLAT * bright).square_()
        torch.mul(strip[0], strip[1], out=strip[3])
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


def _local_variance(x: torch.Tensor, top: int, bottom: int) -> torch.Tensor:
    """Variance in the 5x5 neighbourhood, cut at the border, of rows top..bottom-1."""
    first, last = max(top - _REACH, 0), min(bottom + _REACH, x.shape[0])
    x = x[first:last]
    x = x - x.mean()  # small numbers keep the digits of the difference of squares
    count = _sums(torch.ones_like(x[:, :1]), 0) * _sums(torch.ones_like(x[:1]), 1)
    mean = _sums(_sums(x, 0), 1).div_(count)
    square = _sums(_sums(x.square_(), 0), 1).div_(count)
    variance = square.addcmul_(mean, mean, value=-1).clamp_(min=0)
    return variance[top - first : bottom - first]


def _sums(x: torch.Tensor, axis: int) -> torch.Tensor:
    """Sums over five neighbours along an axis, zeros outside."""
    size = x.shape[axis]
    total = x.clone()
    for shift in range(1, min(_REACH, size - 1) + 1):
        total.narrow(axis, shift, size - shift).add_(x.narrow(axis, 0, size - shift))
        total.narrow(axis, 0, size - shift).add_(x.narrow(axis, shift, size - shift))
    return total
