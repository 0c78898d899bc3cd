"""Simulated cameras for the tests: photos, and models made from flat fields."""

from __future__ import annotations

import hashlib
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage

from forensics.prnu.camera_model import CameraModel, UsedImage
from forensics.prnu.fingerprint import FingerprintAccumulator
from forensics.prnu.training import pristine_sample, train
from forensics.synth.camera import SimulatedCamera

HEIGHT, WIDTH = 384, 512
FLATS = 8


@cache
def camera(seed: int) -> SimulatedCamera:
    return SimulatedCamera(seed=seed, height=HEIGHT, width=WIDTH)


@cache
def photo(seed: int, number: int) -> NDArray[np.uint8]:
    """A natural photo after JPEG, read-only."""
    return _after_jpeg(seed, camera(seed).natural(number))


def used(name: str) -> UsedImage:
    return UsedImage(name, hashlib.sha256(name.encode()).hexdigest(), 1)


@cache
def fingerprint_model(seed: int) -> CameraModel:
    """A camera model without predictors."""
    sums = FingerprintAccumulator()
    for number in range(FLATS):
        sums.update(_after_jpeg(seed, camera(seed).flat_field(number)))
    return CameraModel(
        camera_id=f"camera{seed}",
        fingerprint=sums.compute(),
        sigma=sums.sigma,
        levels=sums.levels,
        reference=tuple(used(f"flat{seed}-{number}") for number in range(FLATS)),
    )


@cache
def trained_model(seed: int) -> CameraModel:
    """A camera model trained on photos 0 to 5."""
    model = fingerprint_model(seed)
    samples = [pristine_sample(model, used(f"{seed}-{i}"), photo(seed, i)) for i in range(6)]
    return train(model, samples)


def _after_jpeg(seed: int, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    import io

    pixels = np.asarray(PilImage.open(io.BytesIO(camera(seed).encode(rgb))))
    pixels.setflags(write=False)
    return pixels
