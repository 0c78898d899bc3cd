"""Simulated cameras with their models, photos and forgeries on disk, for the studies."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from forensics.prnu.camera_model import CameraModel, UsedImage, WindowModel
from forensics.prnu.predictors import Predictor
from forensics.records import ManifestRow
from forensics.synth import forge
from tests.evaluate.runs import write_mask
from tests.prnu.cameras import photo

TRAINED = 6
"""Photos that the simulated camera models have seen; later ones are new to them."""


def put_model(folder: Path, model: CameraModel) -> None:
    home = folder / "models" / model.camera_id
    home.mkdir(parents=True, exist_ok=True)
    for name, data in model.to_files().items():
        (home / name).write_bytes(data)


def put_photo(folder: Path, name: str, rgb: NDArray[np.uint8], camera_id: str) -> ManifestRow:
    """A lossless file; returns its row, of a pristine photo."""
    path = folder / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rgb).save(path)
    return ManifestRow(name, str(path), camera_id=camera_id, label="pristine")


def put_splice(folder: Path, name: str, seed: int, number: int, donor: int) -> ManifestRow:
    """A photo of camera ``seed`` with a part of one by camera ``donor``; returns its row."""
    area = (0.12, 0.2)
    forged = forge("splice", photo(seed, number), number, donor=photo(donor, number), area=area)
    row = put_photo(folder, name, forged.pixels, f"camera{seed}")
    mask = write_mask(folder / "masks" / f"{name}.png", forged.mask)
    return replace(row, label="forged", mask_uri=mask, source="splice")


def used(row: ManifestRow) -> UsedImage:
    """The file of a row, as a camera model names it."""
    data = Path(row.uri).read_bytes()
    return UsedImage(row.image_id, hashlib.sha256(data).hexdigest(), len(data))


def at_qualities(
    windows: Sequence[WindowModel], qualities: Sequence[int]
) -> tuple[WindowModel, ...]:
    """Those windows, and each also as one of these JPEG qualities."""
    more = [
        replace(window, jpeg_quality=quality, predictor=_copied(window.predictor))
        for quality in qualities
        for window in windows
    ]
    return (*windows, *more)


def at_quality(model: CameraModel, quality: int) -> CameraModel:
    """The model with each predictor also as one of that JPEG quality."""
    return replace(model, windows=at_qualities(model.windows, (quality,)))


def only(model: CameraModel, windows: Sequence[int]) -> CameraModel:
    """The model with those window sizes alone."""
    return replace(model, windows=tuple(w for w in model.windows if w.window in windows))


def _copied(predictor: Predictor) -> Predictor:
    state = {name: tensor.clone() for name, tensor in predictor.state().items()}
    return type(predictor).from_state(state)
