"""Localization by Noiseprint++ alone: which parts have traces unlike those of the rest.

The blind localizer that Cozzolino and Verdoliva put after a noiseprint (2020,
doi:10.1109/TIFS.2019.2916364, section III), which is that of Splicebuster (Cozzolino, Poggi,
Verdoliva 2015, doi:10.1109/WIFS.2015.7368565): co-occurrences of the residual in sliding windows,
reduced to their principal components; expectation maximisation finds two Gaussians, of which the
one that most windows follow is the image's own. Nothing is trained but the noiseprint.
"""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import dataclass
from typing import Generic

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from torch import Tensor
from torch.nn.functional import interpolate

from forensics.arrays import Array, like, to_tensor
from forensics.manipulation.descriptor import dense_cooccurrences
from forensics.manipulation.windows import Axis, to_cells
from forensics.trufor.checkpoint import load_noiseprint
from forensics.trufor.inference.noiseprint import NoiseprintPlane
from forensics.trufor.model import SCALE
from forensics.trufor.noiseprint import Noiseprint

WINDOW = 64  # pixels
STRIDE = 8  # pixels
COMPONENTS = 25  # at most, and one for every four windows that have no pixel in common

_STARTS = 5
_FITTED = 20_000  # windows that the Gaussians are fitted to
_SAMPLE = 1 << 22  # values that the levels are found from


@dataclass(frozen=True)
class Anomaly(Generic[Array]):
    """Where an image's traces deviate from those of its larger part."""

    map: Array
    """float32 (H, W), 0..1: 0.5 as far from the larger part's traces as from the others'."""
    score: float
    """0..1: 1 − exp(−g), where g is what a second Gaussian adds to a window's log-likelihood."""


class BlindLocalizer:
    """Noiseprint++ and the search for windows that its model of the image does not explain."""

    min_side = WINDOW
    """Pixels that the smaller side of an image must have."""

    def __init__(
        self, net: Noiseprint, device: torch.device | str = "cpu", digest: str | None = None
    ) -> None:
        self.device = torch.device(device)
        self.digest = digest
        """SHA-256 of the file the weights came from."""
        self._plane = NoiseprintPlane(net.to(self.device).requires_grad_(False))

    @classmethod
    def from_bytes(
        cls, data: bytes, device: torch.device | str = "cpu", where: str = "checkpoint"
    ) -> BlindLocalizer:
        """From ``noiseprint++.th`` as published, or what phase 1 of the training wrote.

        Raises `UserError`, which names the file by ``where``, for anything else.
        """
        return cls(load_noiseprint(data, where), device, hashlib.sha256(data).hexdigest())

    @torch.inference_mode()
    def predict(self, rgb: Array) -> Anomaly[Array]:
        """Examine a uint8 (H, W, 3) image, at least `min_side` a side.

        Raises ValueError for another shape or type, or a smaller image.
        """
        pixels = to_tensor(rgb)
        if pixels.dtype != torch.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
            raise ValueError(
                f"an image is uint8 (H, W, 3), not {pixels.dtype} {tuple(pixels.shape)}"
            )
        plane = self._plane(pixels[None].to(self.device, torch.float32).div_(SCALE))[0, :, :, 0]
        found = anomalies(plane)
        # Cells cover whole strides, so the map is cut to the image after it was enlarged.
        full = [STRIDE * count for count in found.map.shape]
        large = interpolate(found.map[None, None], full, mode="bilinear", align_corners=False)
        large = large[0, 0, : pixels.shape[0], : pixels.shape[1]].to(pixels.device)
        return Anomaly(like(rgb, large), found.score)


def anomalies(plane: Array) -> Anomaly[Array]:
    """How little each cell's surroundings look like the larger part of a noise plane.

    Args:
        plane: float (H, W) of any scale, at least `WINDOW` a side.

    Returns:
        The map with a stride of `STRIDE`: float32 (ceil(H / STRIDE), ceil(W / STRIDE)).

    Raises:
        ValueError: another shape, or a smaller plane.
    """
    noise = to_tensor(plane)
    if noise.ndim != 2 or min(noise.shape) < WINDOW:
        raise ValueError(f"needs (H, W) of at least {WINDOW} a side, got {tuple(noise.shape)}")
    counts = dense_cooccurrences(_terciles(noise), WINDOW, STRIDE)
    kept = min(COMPONENTS, max(1, noise.numel() // (4 * WINDOW**2)))
    features = _components(counts.flatten(0, 1).to(torch.float64).sqrt(), kept)
    values, score = _deviation(features.cpu().numpy())
    grid = torch.from_numpy(values).to(noise.device, torch.float32).reshape(counts.shape[:2])
    rows, columns = (Axis.of(size, WINDOW, STRIDE) for size in noise.shape)
    return Anomaly(like(plane, to_cells(grid, rows, columns)), score)


def _terciles(noise: Tensor) -> Tensor:
    """uint8 levels 0..2, each as frequent as the others: of no scale, and as telling as can be."""
    values = noise.flatten()[:: -(-noise.numel() // _SAMPLE)].sort().values
    low, high = values[len(values) // 3], values[2 * len(values) // 3]
    return (noise > low).to(torch.uint8) + (noise > high).to(torch.uint8)


def _components(features: Tensor, count: int) -> Tensor:
    """float64 (n, at most ``count``): principal components that vary, the first of variance 1."""
    centred = features - features.mean(0)
    variances, directions = torch.linalg.eigh(centred.mT @ centred / len(centred))
    kept = variances > 1e-12
    kept[:-count] = False
    components: Tensor = centred @ (directions[:, kept] / variances[-1].sqrt())
    return components


def _deviation(features: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """Of each window a / (a + b), squared Mahalanobis distances to the two means; and the score."""
    few = features[:: -(-len(features) // _FITTED)]
    if not features.shape[1] or len(few) < 2:
        return np.zeros(len(features)), 0.0  # the same everywhere
    one, two = (
        GaussianMixture(count, covariance_type="tied", n_init=_STARTS, random_state=0)
        for count in (1, 2)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # where there is but one part
        gain = max(0.0, two.fit(few).score(few) - one.fit(few).score(few))
    order = np.argsort(two.weights_)[::-1]
    own, other = (
        np.square((features - mean) @ two.precisions_cholesky_).sum(1) for mean in two.means_[order]
    )
    return own / (own + other), float(1 - np.exp(-gain))
