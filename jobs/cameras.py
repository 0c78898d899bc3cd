"""Ray tasks that make camera models: sums over reference images, and training on pristine ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, TypeVar

import ray
import torch

from forensics import storage
from forensics.arrays import to_tensor
from forensics.evidence import open_image
from forensics.prnu.camera_model import (
    CARD,
    CameraModel,
    StoredFile,
    UsedImage,
    read_card,
    read_stored,
)
from forensics.prnu.fingerprint import FingerprintAccumulator
from forensics.prnu.library import CameraLibrary
from forensics.prnu.training import PristineSample, pristine_sample, train
from forensics.records import Image, ManifestRow, UserError, explain
from forensics.text import visible

Size = tuple[int, int]
T = TypeVar("T")


@dataclass(frozen=True)
class Skipped:
    """An image that was not used, and why."""

    image_id: str
    reason: str


def say_skipped(skipped: Iterable[Skipped]) -> None:
    """The images for people, each with its reason."""
    for image in skipped:
        print(f"{visible(image.image_id)}: not used, {image.reason}")


@dataclass(frozen=True)
class Sums:
    """Fingerprint sums of one camera by image size, with the images they came from."""

    by_size: dict[Size, tuple[FingerprintAccumulator, tuple[UsedImage, ...]]]
    skipped: tuple[Skipped, ...] = ()

    def merge(self, other: Sums) -> Sums:
        """Sums over both sets of images."""
        merged = dict(self.by_size)
        for size, (sums, images) in other.by_size.items():
            if size in merged:
                mine, before = merged[size]
                merged[size] = (mine.merge(sums), before + images)
            else:
                merged[size] = (sums, images)
        return Sums(merged, self.skipped + other.skipped)


@ray.remote(num_cpus=1)
def accumulate(
    rows: Sequence[ManifestRow], sigma: float, levels: int, max_megapixels: float, known: set[str]
) -> Sums:
    """Sums over some reference images of one camera; ``known`` are hashes already summed."""
    by_size: dict[Size, tuple[FingerprintAccumulator, tuple[UsedImage, ...]]] = {}
    skipped = []
    for row in rows:
        try:
            used, image = load_image(row, max_megapixels)
        except Exception as error:
            skipped.append(Skipped(row.image_id, explain(error)))
            continue
        if used.sha256 in known:
            skipped.append(Skipped(row.image_id, "is in the fingerprint already"))
            continue
        size = (image.height, image.width)
        sums, images = by_size.get(size) or (FingerprintAccumulator(sigma, levels), ())
        sums.update(image.pixels, row.image_id)
        by_size[size] = (sums, (*images, used))
    return Sums(by_size, tuple(skipped))


@ray.remote(num_cpus=1)
def merge(one: Sums, other: Sums) -> Sums:
    """Sums over both."""
    return one.merge(other)


@ray.remote(num_cpus=1)
def write_fingerprint(folder: str, camera_id: str, sums: Sums, size: Size | None) -> dict[str, Any]:
    """Compute and store a fingerprint of that size, else of the most frequent one.

    Says what became of each image. Storing is complete when the card is there; nothing is stored
    where no image could be used. Predictors go with the fingerprint that they were trained on: they
    stay only where the new one is equal.
    """
    skipped = list(sums.skipped)
    if not sums.by_size:
        return {"camera_id": camera_id, "images": 0, "skipped": skipped}
    size = size or max(sums.by_size, key=lambda s: (len(sums.by_size[s][1]), s))
    for other, (_, images) in sums.by_size.items():
        if other != size:
            reason = f"has {other[1]}x{other[0]} pixels, the fingerprint {size[1]}x{size[0]}"
            skipped += [Skipped(image.image_id, reason) for image in images]
    accumulator, images = sums.by_size[size]
    used = tuple(sorted(images, key=lambda image: (image.image_id, image.sha256)))
    model = CameraModel(
        camera_id=camera_id,
        fingerprint=to_tensor(accumulator.compute()),
        sigma=accumulator.sigma,
        levels=accumulator.levels,
        reference=used,
    )
    earlier = _earlier(folder)
    same = earlier is not None and _identifies_alike(earlier, model)
    if earlier is not None and same:
        model = replace(earlier, camera_id=camera_id, reference=used)
    write_model(folder, model, accumulator.to_bytes())
    return {
        "camera_id": camera_id,
        "images": len(used),
        "train_again": earlier is not None and bool(earlier.windows) and not same,
        "height": size[0],
        "width": size[1],
        "digest": model.digest,
        "skipped": skipped,
    }


def _earlier(folder: str) -> CameraModel | None:
    """The model that is to be replaced; None where there is none that can be read."""
    try:
        return CameraModel.from_files(lambda name: storage.read(storage.join(folder, name)))
    except (UserError, storage.NotFound):
        return None


def _identifies_alike(one: CameraModel, other: CameraModel) -> bool:
    filters = {(model.sigma, model.levels) for model in (one, other)}
    return len(filters) == 1 and torch.equal(one.fingerprint, other.fingerprint)


@ray.remote(num_cpus=1)
def sample(
    models: str,
    version: str,
    row: ManifestRow,
    max_megapixels: float,
    jpeg_quality: int | None = None,
) -> PristineSample | Skipped:
    """Window statistics of one pristine image of a camera, recompressed where a quality is given.

    ``version`` is the digest of the library as the job found it.
    """
    try:
        used, image = load_image(row, max_megapixels)
        model = library_at(models, version).model(str(row.camera_id))
        return pristine_sample(model, used, image.pixels, jpeg_quality)
    except Exception as error:
        return Skipped(row.image_id, explain(error))


@ray.remote(num_cpus=1)
def write_trained(
    models: str,
    camera_id: str,
    own: int,
    *samples: PristineSample | Skipped,
    predictor: str = "lse",
    jpeg_quality: int | None = None,
    image_gain: bool = True,
) -> dict[str, Any]:
    """Train one kind of predictor of a camera and store its model; says what became of each image.

    The first ``own`` samples are the camera's, the rest are borrowed from other cameras. One task
    at a time for a camera: what another wrote meanwhile would be lost.
    """
    skipped = [s for s in samples[:own] if isinstance(s, Skipped)]
    usable = [s for s in samples[:own] if isinstance(s, PristineSample)]
    others = [s for s in samples[own:] if isinstance(s, PristineSample)]
    library = CameraLibrary(models)
    try:
        model = train(
            library.model(camera_id),
            usable,
            others,
            predictor=predictor,
            jpeg_quality=jpeg_quality,
            image_gain=image_gain,
        )
    except UserError as error:
        return {"camera_id": camera_id, "images": 0, "skipped": skipped, "error": str(error)}
    write_model(library.entry(camera_id).folder, model)
    made = [
        w for w in model.windows if (w.predictor.name, w.jpeg_quality) == (predictor, jpeg_quality)
    ]
    return {
        "camera_id": camera_id,
        "images": max(w.images for w in made),
        "skipped": skipped,
        "windows": [
            {
                "window": w.window,
                "adjusted_r2": w.adjusted_r2,
                "sigma0": w.sigma0,
                "sigma1": w.sigma1,
                "blocks": w.blocks,
            }
            for w in made
        ],
        "left_out": dict(model.left_out),
        "false_alarms": [(a.image_id, a.area) for a in model.false_alarms],
    }


def write_model(folder: str, model: CameraModel, accumulator: bytes | None = None) -> None:
    """Store a camera model's files, the card last; then remove files of the model it replaces."""
    files = model.to_files(accumulator)
    for name, data in files.items():
        storage.write(storage.join(folder, name), data)
    card = read_card(files[CARD])
    kept = {*files, *(file["name"] for file in (card["accumulator"],) if file)}
    for entry in list(storage.list(folder)):
        if entry.name.endswith(".safetensors") and entry.name not in kept:
            storage.delete(entry.uri)


def read_accumulator(folder: str) -> FingerprintAccumulator:
    """The sums a fingerprint can be extended from. Raises `UserError` where they are gone."""
    card = read_card(storage.read(storage.join(folder, CARD)))
    try:
        sums = StoredFile(**(card["accumulator"] or {}))
        data = read_stored(sums, lambda name: storage.read(storage.join(folder, name)))
    except (TypeError, storage.NotFound):
        raise UserError(
            f"{folder} does not hold the sums behind its fingerprint, so it cannot be extended; "
            "make it again from all its images with existing: replace"
        ) from None
    return FingerprintAccumulator.from_bytes(data)


def tree(items: Sequence[T], join: Callable[[T, T], T]) -> T:
    """Join neighbours pairwise until one is left: the same tree for the same number of items."""
    level = list(items)
    while len(level) > 1:
        pairs = [join(a, b) for a, b in zip(level[::2], level[1::2], strict=False)]
        level = pairs + level[len(pairs) * 2 :]
    return level[0]


def load_image(row: ManifestRow, max_megapixels: float) -> tuple[UsedImage, Image]:
    """An image that a manifest names, with what is remembered of it."""
    evidence, image = open_image(row, max_megapixels)
    return UsedImage(row.image_id, evidence.sha256, len(evidence.data)), image


@lru_cache(maxsize=1)
def library_at(models: str, version: str) -> CameraLibrary:
    """The library of camera models, opened once per process and version (its digest)."""
    return CameraLibrary(models)
