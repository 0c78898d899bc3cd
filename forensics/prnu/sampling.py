"""What the windows of a pristine image show, reduced to a few megabytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import avg_pool2d

from forensics.arrays import to_tensor
from forensics.prnu.camera_model import CameraModel, UsedImage
from forensics.prnu.features import feature_planes
from forensics.prnu.recompress import recompress
from forensics.prnu.residual import gray, noise_residual
from forensics.prnu.saturation import SATURATED, saturation_plane
from forensics.records import NotApplicable

WINDOWS = (32, 48, 64, 96, 128, 192, 256)  # pixels
AUDIT_WINDOW = 128  # pixels: false alarms are counted with it, at a stride of one cell
CELL = 16  # pixels: every window is a whole number of cells, so cell means give all windows

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class PristineSample:
    """What the windows of one pristine image show, per window size.

    Saturated windows, which show nothing, are not among those to learn from.
    """

    image: UsedImage
    features: Mapping[int, Floats]  # (n, 4)
    rho: Mapping[int, Floats]  # (n,) with the fingerprint in place
    rho_absent: Mapping[int, Floats]  # (m,) with the residual shifted away from it
    audit_features: Floats  # (h, w, 4) of windows of the audit's size, one per cell
    audit_rho: Floats  # (h, w)
    audit_saturation: Floats  # (h, w)
    jpeg_quality: int | None = None  # recompressed at it; None: the image as it is

    @property
    def audit_window(self) -> int:
        """Side of the audit's windows in pixels: `AUDIT_WINDOW`, or less in a small image."""
        return min(AUDIT_WINDOW, max(self.features))


def pristine_sample(
    model: CameraModel, image: UsedImage, rgb: Any, jpeg_quality: int | None = None
) -> PristineSample:
    """Window statistics of a pristine image of the camera, uint8 (H, W, 3).

    Windows overlap by half. Where the fingerprint is absent (H0) is simulated by shifting the
    residual by multiples of `CELL` pixels, large and small, so that whatever repeats with the JPEG
    grid is counted as chance. ``jpeg_quality``: recompress the image at it first. Raises
    `NotApplicable` where the size is not the fingerprint's.
    """
    pixels = to_tensor(rgb)
    height, width = pixels.shape[:2]
    if (height, width) != (model.height, model.width):
        raise NotApplicable(
            f"{image.image_id} has {width}x{height} pixels, the fingerprint of {model.camera_id} "
            f"has {model.width}x{model.height}"
        )
    if min(height, width) < 2 * WINDOWS[0]:
        raise NotApplicable(f"{image.image_id} is too small to train windows of {WINDOWS[0]} px")
    if jpeg_quality is not None:
        again = to_tensor(recompress(pixels.cpu().numpy(), jpeg_quality))
        pixels = again.to(pixels.device)
    K = model.fingerprint.to(pixels.device)
    W = noise_residual(pixels, sigma=model.sigma, levels=model.levels)
    Z = K * gray(pixels)
    height, width = height // CELL * CELL, width // CELL * CELL
    W, Z = W[:height, :width], Z[:height, :width]
    moments = _cells(torch.stack([W, Z, W * W, Z * Z, W * Z]))
    features = _cells(feature_planes(pixels)[:, :height, :width])
    saturation = _cells(saturation_plane(pixels)[None, :height, :width])
    absent = [_shifted(W, Z, moments, shift) for shift in _shifts(height, width)]
    sizes = [size for size in WINDOWS if size <= min(height, width)]
    audit = min(AUDIT_WINDOW, sizes[-1])
    collected: dict[int, tuple[Floats, Floats, Floats]] = {}
    for size in sizes:
        step = max(1, size // CELL // 2)
        rho = _correlation(_windows(moments, size, step)).ravel()
        f = _windows(features, size, step).flatten(1).mT
        unsaturated = _windows(saturation, size, step).ravel() < SATURATED
        known = rho.isfinite() & unsaturated
        none = torch.cat([_correlation(_windows(m, size, step)).ravel() for m in absent])
        collected[size] = (_numpy(f[known]), _numpy(rho[known]), _numpy(none[none.isfinite()]))
    return PristineSample(
        image=image,
        features={size: values[0] for size, values in collected.items()},
        rho={size: values[1] for size, values in collected.items()},
        rho_absent={size: values[2] for size, values in collected.items()},
        audit_features=_numpy(_windows(features, audit, 1).movedim(0, -1)),
        audit_rho=_numpy(_correlation(_windows(moments, audit, 1))),
        audit_saturation=_numpy(_windows(saturation, audit, 1)[0]),
        jpeg_quality=jpeg_quality,
    )


def _cells(planes: torch.Tensor) -> torch.Tensor:
    means: torch.Tensor = avg_pool2d(planes, CELL)
    return means.to(torch.float64)


def _windows(cells: torch.Tensor, size: int, step: int) -> torch.Tensor:
    """Means over windows of whole cells that lie inside the image."""
    means: torch.Tensor = avg_pool2d(cells, size // CELL, stride=step)
    return means


def _correlation(moments: torch.Tensor) -> torch.Tensor:
    """Equation 2 of the method from the means of W, Z, W², Z², WZ; NaN where either is constant."""
    w, z, ww, zz, wz = moments.unbind()
    return (wz - w * z).div((ww - w * w).clamp(min=0).sqrt() * (zz - z * z).clamp(min=0).sqrt())


def _shifts(height: int, width: int) -> list[tuple[int, int]]:
    """Circular shifts in cells: near, and far along each axis."""
    rows, columns = height // CELL, width // CELL
    return [(1, 2), (rows // 2, columns // 3), (rows // 3, columns // 2), (rows // 4, 3)]


def _shifted(
    W: torch.Tensor, Z: torch.Tensor, moments: torch.Tensor, shift: tuple[int, int]
) -> torch.Tensor:
    moved = torch.roll(W, (shift[0] * CELL, shift[1] * CELL), (0, 1))
    w, z, ww, zz, _ = moments.unbind()
    return torch.stack(
        [w.roll(shift, (0, 1)), z, ww.roll(shift, (0, 1)), zz, _cells((moved * Z)[None])[0]]
    )


def _numpy(x: torch.Tensor) -> Floats:
    return x.to(torch.float32).cpu().numpy()
