"""The manipulations to be told apart: five kinds at three strengths each, and any other strength.

All take uint8 (H, W) or (H, W, 3) and give the same; results are rounded to the nearest level and
clipped to 0..255. Channels are treated alike and apart, but by JPEG, which mixes them.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage
from scipy import ndimage
from skimage.filters import rank

from forensics.records import UserError

Kind = Literal["median", "blur", "noise", "resize", "jpeg"]
Pixels = NDArray[np.uint8]

STRENGTHS: Mapping[Kind, tuple[float, float, float]] = {
    "median": (7, 5, 3),
    "blur": (1.1, 0.75, 0.5),
    "noise": (2.0, 0.5, 0.25),
    "resize": (1.5, 1.125, 1.01),
    "jpeg": (70, 80, 90),
}
"""Those of the paper (table I), from easy to hard."""

BOUNDS: Mapping[Kind, tuple[float, float]] = {
    "median": (3, 99),
    "blur": (0.25, 50),
    "noise": (0.1, 100),
    "resize": (0.1, 10),
    "jpeg": (1, 100),
}
"""Least and greatest strength: weaker ones change no pixel, stronger ones leave no photo."""

PRISTINE = "pristine"

_LEAST_CHANGE = 1e-3  # of the scale: a pixel in a thousand


@dataclass(frozen=True, slots=True)
class Manipulation:
    """One kind at one strength.

    ``strength``, within `BOUNDS`: median: side of the window, pixels, odd. blur: standard
    deviation, pixels. noise: standard deviation, grey levels. resize: scale of both sides, not 1.
    jpeg: quality, whole. Raises `ValueError` for a strength that its kind does not have.
    """

    kind: Kind
    strength: float

    def __post_init__(self) -> None:
        if self.kind not in STRENGTHS:
            raise ValueError(f"no manipulation {self.kind!r}; there are: {', '.join(STRENGTHS)}")
        value, (least, greatest) = self.strength, BOUNDS[self.kind]
        valid = least <= value <= greatest  # so it is finite
        if self.kind in ("median", "jpeg"):
            valid = valid and value == int(value) and (self.kind == "jpeg" or value % 2 == 1)
        if self.kind == "resize":
            valid = valid and abs(value - 1) >= _LEAST_CHANGE
        if not valid:
            besides = {"median": " (odd)", "jpeg": " (whole)", "resize": " other than 1"}
            raise ValueError(
                f"{self.kind} takes a strength of {least:g} to {greatest:g}"
                f"{besides.get(self.kind, '')}, not {value:g}"
            )

    @property
    def label(self) -> str:
        """Such as ``median-7`` or ``blur-0.5``."""
        return f"{self.kind}-{self.strength:g}"

    def apply(self, pixels: Pixels, seed: int | list[int] = 0) -> Pixels:
        """The manipulated image; only noise depends on the seed.

        Raises `ValueError` where ``pixels`` is not uint8 (H, W) or (H, W, 3).
        """
        if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or 0 in pixels.shape:
            raise ValueError(f"needs uint8 (H, W) or (H, W, 3), got {pixels.dtype} {pixels.shape}")
        if pixels.ndim == 3 and pixels.shape[2] != 3:
            raise ValueError(f"needs 1 or 3 channels, got {pixels.shape[2]}")
        if self.kind == "noise":
            return noise(pixels, self.strength, seed)
        return _SEEDLESS[self.kind](pixels, self.strength)


def parse(label: str) -> Manipulation:
    """The manipulation of a label such as ``blur-0.5``. Raises `UserError` for what is none."""
    kind, _, strength = label.partition("-")
    try:
        value = float(strength)
    except ValueError:
        value = None
    if kind not in STRENGTHS or value is None:
        raise UserError(
            f"{label!r} is no manipulation; write kind-strength with a kind of "
            f"{', '.join(STRENGTHS)}, such as {MANIPULATIONS[5].label}"
        )
    try:
        return Manipulation(kind, value)  # type: ignore[arg-type]  # checked above
    except ValueError as error:
        raise UserError(f"{label!r}: {error}") from None


def median(pixels: Pixels, size: float) -> Pixels:
    """Median of a size x size window; beyond the border the image is mirrored about its edge."""
    half, square = int(size) // 2, np.ones((int(size), int(size)), np.uint8)

    def middle(plane: Pixels) -> Pixels:
        mirrored = np.pad(plane, half, mode="reflect")
        found: Pixels = rank.median(mirrored, square)
        inside = slice(half, -half)
        return found[inside, inside]

    return _by_channel(pixels, middle)


def blur(pixels: Pixels, sigma: float) -> Pixels:
    """Gaussian of that standard deviation, cut at 4 of them; mirrored about the edge beyond it."""
    return _by_channel(
        pixels,
        lambda plane: _rounded(
            ndimage.gaussian_filter(plane.astype(np.float32), sigma, mode="mirror", truncate=4.0)
        ),
    )


def noise(pixels: Pixels, sigma: float, seed: int | list[int]) -> Pixels:
    """White Gaussian noise of that standard deviation, drawn from the seed; no pixel knows another,
    so borders are like the rest."""
    rng = np.random.default_rng(seed)
    return _rounded(pixels + np.float32(sigma) * rng.standard_normal(pixels.shape, np.float32))


def resize(pixels: Pixels, scale: float) -> Pixels:
    """Both sides times ``scale``, rounded, at least 1; bicubic (Pillow's, a = −0.5).

    Kernels are cut at the border and normalised again. Scales below 1 widen the kernel.
    """
    height, width = (max(1, round(side * scale)) for side in pixels.shape[:2])
    image = PilImage.fromarray(pixels)
    return np.asarray(image.resize((width, height), PilImage.Resampling.BICUBIC))


def jpeg(pixels: Pixels, quality: float) -> Pixels:
    """Compressed and decoded again: standard tables, colours at 4:2:0, blocks from the corner.

    Blocks that the border cuts are filled by repeating the edge, as libjpeg does.
    """
    buffer = io.BytesIO()
    PilImage.fromarray(pixels).save(buffer, "JPEG", quality=int(quality), subsampling="4:2:0")
    return np.asarray(PilImage.open(buffer))


_SEEDLESS: Mapping[Kind, Callable[[Pixels, float], Pixels]] = {
    "median": median,
    "blur": blur,
    "resize": resize,
    "jpeg": jpeg,
}

MANIPULATIONS: tuple[Manipulation, ...] = tuple(
    Manipulation(kind, strength) for kind, strengths in STRENGTHS.items() for strength in strengths
)
"""The paper's fifteen."""

CLASSES: tuple[str, ...] = (PRISTINE, *(m.label for m in MANIPULATIONS))
"""The sixteen classes in the order of the network's outputs."""


def _rounded(values: NDArray[Any]) -> Pixels:
    clipped: NDArray[Any] = np.clip(np.rint(values), 0, 255)
    return clipped.astype(np.uint8)


def _by_channel(pixels: Pixels, function: Callable[[Pixels], Pixels]) -> Pixels:
    if pixels.ndim == 2:
        return function(pixels)
    return np.stack([function(pixels[..., i]) for i in range(pixels.shape[2])], axis=2)
