"""Adaptive-window fusion: every pixel takes the smallest scale that is sure enough."""

from __future__ import annotations

import torch

from forensics.arrays import Array, like, to_tensor


def adaptive_window(maps: Array, dc1: float = 0.1, dc2: float = 0.25) -> tuple[Array, Array]:
    """Fuse probability maps of several scales, each pixel on its own.

    Small windows resolve more, large ones are surer. A larger scale is taken where it is surer
    than the one accepted so far; the search ends once the accepted value is within ``dc1`` of 0
    or 1, or where the scale just accepted confirms one before it that was within ``dc2`` on the
    same side of 0.5. Algorithm 2 of the M-SLIC paper (doi:10.1007/s11042-019-7288-y), after Korus
    and Huang 2017 (doi:10.1109/TIFS.2016.2636089).

    Args:
        maps: (S, h, w) tampering probabilities, 0..1, from the smallest window to the largest;
            0.5 where a scale knows nothing.
        dc1: distance from 0 or 1 within which a value is accepted at once, 0..0.5.
        dc2: distance within which a value needs only the next scale to confirm it, 0..0.5.

    Returns:
        The fused map (h, w), of the dtype of ``maps``, and the accepted scale, uint8 (h, w).

    Raises:
        ValueError: ``maps`` is not (S, h, w) with 1 to 255 scales, or holds NaN.
    """
    t = to_tensor(maps)
    if t.ndim != 3 or not 1 <= len(t) <= 255:
        raise ValueError(f"fusion needs maps (S, h, w) of 1 to 255 scales, not {tuple(t.shape)}")
    if bool(t.isnan().any()):
        raise ValueError("the maps to fuse hold NaN; where nothing is known they must hold 0.5")
    fused, sure = t[0], (t[0] - 0.5).abs()
    scale = torch.zeros_like(fused, dtype=torch.uint8)
    searching = torch.ones_like(fused, dtype=torch.bool)
    for s in range(1, len(t)):
        searching = searching & (sure < 0.5 - dc1)
        lean, before = t[s] - 0.5, t[s - 1] - 0.5
        taken = searching & (lean.abs() > sure)
        fused = torch.where(taken, t[s], fused)
        sure = torch.where(taken, lean.abs(), sure)
        scale = scale.masked_fill(taken, s)
        confirmed = (before.abs() > 0.5 - dc2) & (before * lean > 0)
        searching = searching & ~(taken & confirmed)
    return like(maps, fused), like(maps, scale)
