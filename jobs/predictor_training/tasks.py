"""Ray tasks of the predictors' training: blocks of photos in, a camera's model out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import ray

from forensics.prnu.block_sampling import block_triangle, sample_blocks
from forensics.prnu.camera_model import CameraModel, UsedImage, WindowModel
from forensics.prnu.folds import Fitter
from forensics.prnu.library import CameraLibrary
from forensics.prnu.predictors import PREDICTORS
from forensics.prnu.regression import Triangle
from forensics.prnu.sampling import Floats, PristineSample
from forensics.records import ManifestRow, explain
from jobs.cameras import Skipped, library_at, load_image, write_model


@dataclass(frozen=True)
class BlockSettings:
    """Which blocks are taken from a photo."""

    window: int
    count: int
    seed: int
    max_megapixels: float


@dataclass(frozen=True)
class Sampled:
    """What the driver needs to know of a photo's blocks, which stay in the object store."""

    image: UsedImage
    triangle: Triangle
    rho_absent: Any  # float32 (m,)
    blocks: int


@ray.remote(num_cpus=1, num_returns=2)  # type: ignore[untyped-decorator]
def blocks_of(
    models: str, version: str, row: ManifestRow, settings: BlockSettings, jpeg_quality: int | None
) -> tuple[Any, Sampled | Skipped]:
    """Blocks of one photo (`ImageBlocks`, or None), and what became of it.

    ``version`` is the digest of the library of camera models.
    """
    try:
        used, image = load_image(row, settings.max_megapixels)
        model = library_at(models, version).model(str(row.camera_id))
        if used.sha256 in {reference.sha256 for reference in model.reference}:
            return None, Skipped(row.image_id, "its noise is part of the fingerprint")
        sample = sample_blocks(
            model,
            used,
            image.pixels,
            window=settings.window,
            count=settings.count,
            seed=settings.seed,
            jpeg_quality=jpeg_quality,
        )
        triangle = block_triangle(sample)
        if not len(triangle.factor):
            return None, Skipped(row.image_id, "every block of it is constant or saturated")
    except Exception as error:
        return None, Skipped(row.image_id, explain(error))
    return sample.blocks, Sampled(used, triangle, sample.rho_absent, len(sample.blocks.rho))


@ray.remote(num_cpus=1)  # type: ignore[untyped-decorator]
def store_window(
    models: str, camera_id: str, window: WindowModel, images: Sequence[UsedImage]
) -> str:
    """Put a window model into the camera's model; returns the model's digest."""
    library = CameraLibrary(models)
    model = with_window(library.model(camera_id), window, images)
    write_model(library.entry(camera_id).folder, model)
    return model.digest


def with_window(
    model: CameraModel, window: WindowModel, images: Sequence[UsedImage]
) -> CameraModel:
    """The model with a window model in place of the one of its kind, trained on ``images`` too."""
    kept = [other for other in model.windows if kind(other) != kind(window)]
    windows = sorted(
        [*kept, window], key=lambda w: (w.window, w.predictor.name, w.jpeg_quality or 0)
    )
    training = {image.sha256: image for image in (*model.training, *images)}
    left_out = {size: why for size, why in model.left_out.items() if size != str(window.window)}
    return replace(
        model,
        windows=tuple(windows),
        training=tuple(sorted(training.values(), key=lambda i: (i.image_id, i.sha256))),
        left_out=left_out,
    )


def kind(window: WindowModel) -> tuple[int, str, int | None]:
    """What a camera model holds one of: window, predictor and JPEG quality."""
    return window.window, window.predictor.name, window.jpeg_quality


@ray.remote(num_cpus=1)  # type: ignore[untyped-decorator]
def unseen_points(
    models: str,
    camera_id: str,
    window: int,
    predictor: str,
    image_gain: bool,
    *samples: PristineSample | Skipped,
) -> tuple[Floats, Floats]:
    """Measured correlations of the samples that the camera model was trained on, and what
    predictors that have not seen the image say, as the detector would scale it."""
    trained = {image.sha256 for image in CameraLibrary(models).model(camera_id).training}
    own = {
        s.image.sha256: s
        for s in samples
        if isinstance(s, PristineSample) and s.image.sha256 in trained and window in s.rho
    }
    fitter = Fitter(PREDICTORS[predictor], window, list(own.values()), (), image_gain)
    found = [fitter.predict(p, s) for p, s in zip(fitter.unseen(), own.values(), strict=True)]
    return np.concatenate([s.rho[window] for s in own.values()]), np.concatenate(found)
