"""Photos on disk by simulated cameras, and the manifests that name them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from forensics.manifest import write_manifest
from forensics.records import ManifestRow
from forensics.synth.camera import SimulatedCamera

HEIGHT, WIDTH = 64, 96
"""Small enough that a fingerprint takes no time."""


def flat(seed: int, number: int) -> NDArray[np.uint8]:
    return SimulatedCamera(seed=seed, height=HEIGHT, width=WIDTH).flat_field(number)


def put(folder: Path, name: str, camera_id: str | None, rgb: NDArray[np.uint8]) -> ManifestRow:
    """Write a photo as the camera would; returns its manifest row."""
    height, width = rgb.shape[:2]
    data = SimulatedCamera(seed=0, height=height, width=width).encode(rgb)
    return put_bytes(folder, name, camera_id, data)


def put_bytes(folder: Path, name: str, camera_id: str | None, data: bytes) -> ManifestRow:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.jpg"
    path.write_bytes(data)
    sha256 = hashlib.sha256(data).hexdigest()
    return ManifestRow(name, str(path), camera_id=camera_id, sha256=sha256, size=len(data))


def camera_photos(folder: Path, cameras: int, each: int) -> list[ManifestRow]:
    """So many natural photos, 160x120, of each of so many cameras."""
    return [
        put_bytes(folder, f"{seed}-{n}", f"camera{seed}", camera.encode(camera.natural(n)))
        for seed in range(1, cameras + 1)
        for camera in [SimulatedCamera(seed, height=120, width=160)]
        for n in range(each)
    ]


def manifest_of(folder: Path, rows: Sequence[ManifestRow], name: str = "manifest") -> str:
    path = str(folder / f"{name}.parquet")
    write_manifest(rows, path)
    return path
