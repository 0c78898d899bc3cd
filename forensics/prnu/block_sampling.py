"""Blocks of pristine photos with the correlations they show: what the predictors are trained on."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import pad

from forensics.arrays import to_tensor
from forensics.boxfilter import box_mean
from forensics.prnu.blocks import FIELD_STRIDE, ImageBlocks
from forensics.prnu.camera_model import CameraModel, UsedImage
from forensics.prnu.correlation import ncc_field
from forensics.prnu.features import feature_planes
from forensics.prnu.recompress import recompress
from forensics.prnu.regression import Triangle, fit
from forensics.prnu.residual import gray, noise_residual
from forensics.prnu.saturation import SATURATED, saturation_plane
from forensics.records import NotApplicable

_JPEG = 16  # pixels: shifts by its multiples keep what repeats with the grid of 8x8 or 16x16 blocks
_HELD = 1 << 21  # pixels of blocks worked on at once

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class BlockSample:
    """Blocks of one pristine image, with what is learned from all images of a camera together."""

    image: UsedImage
    blocks: ImageBlocks
    features: Floats  # (n, 4) of the blocks
    rho_absent: Floats  # (m,) with the residual shifted away from the fingerprint


def sample_blocks(
    model: CameraModel,
    image: UsedImage,
    rgb: Any,
    *,
    window: int = 128,
    count: int = 1000,
    seed: int = 0,
    jpeg_quality: int | None = None,
) -> BlockSample:
    """Blocks at random places of a pristine image of the camera, uint8 (H, W, 3).

    Args:
        model: the fingerprint to correlate with.
        image: its hash and ``seed`` decide the places; they are uniform over the image.
        rgb: the pixels.
        window: side of the blocks, pixels.
        count: of blocks; fewer where the image has fewer places, or where nothing varies.
        seed: another one gives other places.
        jpeg_quality: compress the image so (1..100) before anything is measured.

    Returns:
        A sample whose blocks have a gain of 1. Where the fingerprint is absent (H0) is simulated
        by shifting the residual by multiples of 16 pixels, so that whatever repeats with the JPEG
        grid is counted as chance.

    Raises:
        NotApplicable: the size is not the fingerprint's, or smaller than the window.
    """
    pixels = to_tensor(rgb)
    height, width = pixels.shape[:2]
    if (height, width) != (model.height, model.width):
        raise NotApplicable(
            f"{image.image_id} has {width}x{height} pixels, the fingerprint of {model.camera_id} "
            f"has {model.width}x{model.height}"
        )
    if min(height, width) < window:
        raise NotApplicable(f"{image.image_id} is smaller than a block of {window} px")
    if jpeg_quality is not None:
        again = to_tensor(recompress(pixels.cpu().numpy(), jpeg_quality))
        pixels = again.to(pixels.device)
    W = noise_residual(pixels, sigma=model.sigma, levels=model.levels)
    Z = model.fingerprint.to(pixels.device) * gray(pixels)
    saturation = saturation_plane(pixels)
    places = _places(height - window + 1, width - window + 1, count, seed, image.sha256)
    rho = _correlations(W, Z, places, window)
    places, rho = places[rho.isfinite()], rho[rho.isfinite()]
    means = _means(torch.cat([feature_planes(pixels), saturation[None]]), places, window)

    def rho_at(w: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        field = ncc_field(w, z, window, FIELD_STRIDE)
        return field.masked_fill(field == 0, math.nan)  # nothing varies there

    def mean_at(plane: torch.Tensor) -> torch.Tensor:
        return box_mean(plane, window, FIELD_STRIDE)

    blocks = ImageBlocks(
        image_id=image.image_id,
        window=window,
        pixels=_numpy(pixels),
        positions=_numpy(places),
        rho=_numpy(rho),
        saturation=_numpy(means[:, -1]),
        gain=1.0,
        field=_numpy(_at_corners(rho_at, window, W, Z)),
        field_saturation=_numpy(_at_corners(mean_at, window, saturation)),
    )
    return BlockSample(
        image=image,
        blocks=blocks,
        features=_numpy(means[:, :-1]),
        rho_absent=_numpy(_absent(W, Z, places, window)),
    )


def block_triangle(sample: BlockSample) -> Triangle:
    """What `image_gains` needs to know of a sample: its blocks that are not saturated."""
    telling = sample.blocks.saturation < SATURATED
    return Triangle.of(sample.features[telling], sample.blocks.rho[telling])


def image_gains(triangles: Sequence[Triangle]) -> list[float]:
    """How strongly each image of a camera shows its fingerprint; 1 on average.

    From the least-squares predictor on hand-made features that fits all images at their gains.
    """
    return [float(gain) for gain in fit(triangles).gains]


def _places(rows: int, columns: int, count: int, seed: int, sha256: str) -> torch.Tensor:
    """(n, 2) top-left corners, no two alike, in reading order."""
    rng = np.random.default_rng([seed, int(sha256[:16], 16)])
    chosen = rng.choice(rows * columns, min(count, rows * columns), replace=False)
    return torch.from_numpy(np.stack(np.divmod(np.sort(chosen), columns), axis=1))


def _blocks(plane: torch.Tensor, places: torch.Tensor, window: int) -> Iterator[torch.Tensor]:
    """(n, pixels) of all blocks, some at a time."""
    views = plane.unfold(0, window, 1).unfold(1, window, 1)
    for some in torch.split(places.to(plane.device), max(1, _HELD // window**2)):
        yield views[some[:, 0], some[:, 1]].flatten(1)


def _correlations(
    W: torch.Tensor, Z: torch.Tensor, places: torch.Tensor, window: int
) -> torch.Tensor:
    """Equation 2 of the CNN-predictor paper, block by block: (n,), NaN where nothing varies."""
    found = [W.new_empty(0)]
    pairs = zip(_blocks(W, places, window), _blocks(Z, places, window), strict=True)
    for w, z in pairs:
        w, z = (x - x.mean(dim=1, keepdim=True) for x in (w, z))
        found.append((w * z).sum(1) / (w.norm(dim=1) * z.norm(dim=1)))
    return torch.cat(found)


def _absent(W: torch.Tensor, Z: torch.Tensor, places: torch.Tensor, window: int) -> torch.Tensor:
    """One correlation per block, at circular shifts of W that are near, and far along each axis."""
    rows, columns = (side // _JPEG for side in W.shape)
    shifts = [(1, 2), (rows // 2, columns // 3), (rows // 3, columns // 2), (rows // 4, 3)]
    found = [
        _correlations(W.roll((_JPEG * down, _JPEG * right), (0, 1)), Z, places[k::4], window)
        for k, (down, right) in enumerate(shifts)
    ]
    rho = torch.cat(found)
    return rho[rho.isfinite()]


def _means(planes: torch.Tensor, places: torch.Tensor, window: int) -> torch.Tensor:
    """(n, planes) means over the blocks."""
    means = [[b.mean(1) for b in _blocks(plane, places, window)] for plane in planes]
    return torch.stack(
        [torch.cat([plane.new_empty(0), *some]) for plane, some in zip(planes, means, strict=True)],
        dim=1,
    )


def _at_corners(
    field: Callable[..., torch.Tensor], window: int, *planes: torch.Tensor
) -> torch.Tensor:
    """A field of all windows whose top-left corner is a multiple of `FIELD_STRIDE`.

    ``field`` gives those of windows around cells. Padding moves the windows; those that hold
    padding are cut off.
    """
    before = FIELD_STRIDE // 2 - window // 2  # where the window of the first cell begins
    shift = before % FIELD_STRIDE
    first = (shift - before) // FIELD_STRIDE
    rows, columns = ((side - window) // FIELD_STRIDE + 1 for side in planes[0].shape)
    moved = field(*(pad(plane, (shift, 0, shift, 0)) for plane in planes))
    return moved[first : first + rows, first : first + columns]


def _numpy(x: torch.Tensor) -> Any:
    return x.contiguous().cpu().numpy()
