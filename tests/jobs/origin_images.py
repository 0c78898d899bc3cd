"""Images of known origin on disk, and their manifest."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from forensics.manifest import write_manifest
from forensics.records import ManifestRow
from tests.origin.networks import CLASSES, of_class

SMALL = {
    "patches.side": 32,
    "patches.count": 6,
    "patches.candidates": 2,
    "level.smallest": 32,
    "level.largest": 80,
    "training.epochs": 2,
    "training.batch": 8,
    "training.lr": 1e-3,
    "training.orientations": 1,
    "width": 1 / 16,
}
"""Settings that make a training short."""


def put_images(folder: Path, per_source: int = 2, sources: int = 2) -> list[ManifestRow]:
    """Of each class two sources."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for label, name in enumerate(CLASSES):
        for source in range(sources):
            for k in range(per_source):
                path = folder / f"{name}-{source}-{k}.png"
                Image.fromarray(of_class(label, 10 * source + k, 96, 100)).save(path)
                rows.append(ManifestRow(path.stem, str(path), label=name, source=f"{name}{source}"))
    return rows


def origin_manifest(folder: Path, name: str = "origin", **images: int) -> str:
    path = str(folder / f"{name}.parquet")
    write_manifest(put_images(folder / "images", **images), path)
    return path
