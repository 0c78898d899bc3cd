"""What the contract is tried on: images of every awkward size and content, and camera models."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forensics import storage
from forensics.origin.weights import to_bytes
from forensics.prnu.camera_model import CameraModel
from forensics.records import Image, ManifestRow
from forensics.trufor.checkpoint import to_safetensors
from tests.origin.networks import TINY as TINY_ORIGIN
from tests.origin.networks import tiny_network as tiny_origin
from tests.prnu.cameras import HEIGHT, WIDTH, fingerprint_model, photo, trained_model
from tests.trufor.networks import tiny_network

TRAINED, UNTRAINED, STRANGER = "camera1", "camera2", "nobody"

SIZES = [(1, 1), (1, 700), (13, 17), (64, 64), (257, 300), (HEIGHT, WIDTH), (HEIGHT + 17, WIDTH)]
"""Height and width; the last but one is that of the fingerprints, the last one exceeds it."""

Pixels = NDArray[np.uint8]


def write_models(folder: Path) -> str:
    """Camera models that are trained, not trained, and of another size; returns their URI."""
    untrained = fingerprint_model(2)
    small = replace(
        untrained, camera_id="small", fingerprint=untrained.fingerprint[:96, :80].clone()
    )
    for model in (trained_model(1), untrained, small):
        write_model(folder / model.camera_id, model)
    return str(folder)


def write_model(folder: Path, model: CameraModel) -> None:
    for name, data in model.to_files().items():
        storage.write(storage.join(str(folder), name), data)


def sections_with_weights(folder: Path) -> dict[str, Any]:
    """Sections of a scan's settings that name weights, of tiny networks, written to ``folder``."""
    checkpoint = folder / "trufor.safetensors"
    checkpoint.write_bytes(to_safetensors(tiny_network()))
    origin = folder / "origin.safetensors"
    levelled = TINY_ORIGIN.model_copy(update={"jpeg_qualities": (70, 90)})
    origin.write_bytes(to_bytes(tiny_origin(settings=levelled)))
    return {
        "trufor": {"checkpoint": str(checkpoint)},
        "origin": {"weights": str(origin), "patches": 30},
    }


def _natural(height: int, width: int) -> Pixels:
    """A photo that the trained camera took, or the part of it at an odd place; mirrored beyond."""
    whole = photo(1, 20)
    if height > HEIGHT or width > WIDTH:
        beyond = ((0, max(0, height - HEIGHT)), (0, max(0, width - WIDTH)), (0, 0))
        return np.pad(whole, beyond, mode="reflect")[:height, :width]
    top, left = min(37, HEIGHT - height), min(53, WIDTH - width)
    return whole[top : top + height, left : left + width]


def _noise(height: int, width: int, channels: int = 3) -> Pixels:
    rng = np.random.default_rng([height, width])
    return rng.integers(0, 256, (height, width, channels), dtype=np.uint8)


CONTENTS: Mapping[str, Callable[[int, int], Pixels]] = {
    "black": lambda height, width: np.zeros((height, width, 3), np.uint8),
    "white": lambda height, width: np.full((height, width, 3), 255, np.uint8),
    "grey": lambda height, width: np.full((height, width, 3), 119, np.uint8),
    "noise": _noise,
    "grey-as-rgb": lambda height, width: np.repeat(_noise(height, width, 1), 3, axis=2),
    "natural": _natural,
}


def image(content: str, height: int, width: int, jpeg_quality: int | None = 95) -> Image:
    """A decoded image, its pixels read-only."""
    pixels = np.ascontiguousarray(CONTENTS[content](height, width))
    pixels.setflags(write=False)
    return Image(pixels, "JPEG" if jpeg_quality else "PNG", jpeg_quality=jpeg_quality)


def row(camera_id: str | None = None, name: str = "image") -> ManifestRow:
    return ManifestRow(name, f"{name}.jpg", camera_id=camera_id)
