"""Small images and manifests for tests."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from forensics.records import ManifestRow


def noise_jpeg(seed: int, height: int = 16, width: int = 16, quality: int = 90) -> bytes:
    """JPEG bytes of random pixels."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def write_images(folder: Path, ids: Sequence[str]) -> list[ManifestRow]:
    """One small JPEG per id and the manifest rows that name them."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for place, image_id in enumerate(ids):
        data = noise_jpeg(place)
        path = folder / f"{image_id}.jpg"
        path.write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        rows.append(ManifestRow(image_id, str(path), sha256=digest, size=len(data)))
    return rows
