"""From pristine images of a camera to its predictors and spreads.

Two steps, so that a cluster can do the first one for many images at once: `pristine_sample` reduces
an image to window statistics, `train` fits a camera model to the samples. The order of the samples
does not matter.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from forensics.evaluate.metrics import adjusted_r2
from forensics.prnu.camera_model import CameraModel, UsedImage, WindowModel
from forensics.prnu.false_alarms import audit
from forensics.prnu.features import DESIGN_TERMS
from forensics.prnu.folds import Fitter
from forensics.prnu.hypothesis import fit_sigma0
from forensics.prnu.predictors import PREDICTORS, FeaturePredictor
from forensics.prnu.sampling import WINDOWS, Floats, PristineSample, pristine_sample
from forensics.records import UserError
from forensics.text import visible

__all__ = ["WINDOWS", "PristineSample", "pristine_sample", "train"]

MIN_BLOCKS = 2 * DESIGN_TERMS


def train(
    model: CameraModel,
    samples: Iterable[PristineSample],
    others: Iterable[PristineSample] = (),
    *,
    predictor: str = "lse",
    jpeg_quality: int | None = None,
    image_gain: bool = True,
) -> CameraModel:
    """The camera model with predictors, spreads and audit fitted to the samples.

    The models of that predictor and JPEG quality are replaced, at every window size; others of the
    camera stay. All errors (``sigma1``, ``adjusted_r2``, ``false_alarms``) are those on images that
    the predictor has not seen. False alarms are counted for images as they are (``jpeg_quality``
    None), with the predictor that errs least.

    Args:
        model: the camera as known so far; its fingerprint at least.
        samples: of the camera's photos, recompressed at ``jpeg_quality`` where that is given.
        others: likewise of other cameras, made with their own fingerprints. They help where the
            camera's own photos are few, see `regression.fit`.
        predictor: name of a predictor on features.
        image_gain: tell the strength of each image from what the features say, and judge images at
            their own strength; without it, the papers' plain method.

    Samples that are equal, or whose image is part of the fingerprint (its noise is in it, so the
    correlations are too high), are left out and named in `CameraModel.left_out`. Raises `UserError`
    where nothing is left to train on, and `ValueError` for samples of another quality and for a
    predictor that does not learn from features.
    """
    kind = PREDICTORS.get(predictor)
    if kind is None or not issubclass(kind, FeaturePredictor):
        raise ValueError(f"{predictor!r} is no predictor on features, it cannot learn from samples")
    used, left_out = _usable(model, samples)
    others = sorted(others, key=lambda s: (s.image.image_id, s.image.sha256))
    for sample in (*used, *others):
        if sample.jpeg_quality != jpeg_quality:
            raise ValueError(
                f"a sample of JPEG quality {sample.jpeg_quality} cannot train a model of quality "
                f"{jpeg_quality}"
            )
    trained: list[WindowModel] = []
    blind: dict[
        int, list[FeaturePredictor]
    ] = {}  # per size, per image the one that has not seen it
    for size in WINDOWS:
        own = [s for s in used if len(s.rho.get(size, ())) > 0]
        try:
            _check_blocks(size, own)
            fitter = Fitter(kind, size, own, others, image_gain)
            fitted, blind[size] = fitter.all(), fitter.unseen()
        except UserError as error:
            left_out[str(size)] = str(error)
            continue
        rho_hat = [fitter.predict(p, s) for p, s in zip(blind[size], own, strict=True)]
        window = _window_model(size, own, fitted, np.concatenate(rho_hat))
        trained.append(replace(window, jpeg_quality=jpeg_quality, image_gain=image_gain))
    if not trained:
        raise UserError(
            f"camera {model.camera_id}: no predictor could be trained; "
            + "; ".join(f"{name}: {why}" for name, why in sorted(left_out.items()))
        )
    images = [sample.image for sample in used]
    result = _merged(model, predictor, jpeg_quality, trained, images, left_out)
    audited = used[0].audit_window
    if jpeg_quality is None and predictor in (_best(model, audited), _best(result, audited)):
        found = [w for w in trained if w.window == audited] if len(used) > 1 else []
        seeing = [s for s in used if len(s.rho[audited]) > 0]
        alarms = audit(found[0], seeing, blind[audited]) if found else ()
        result = replace(result, false_alarms=alarms)
    return result


def _usable(
    model: CameraModel, samples: Iterable[PristineSample]
) -> tuple[list[PristineSample], dict[str, str]]:
    reference = {image.sha256 for image in model.reference}
    used: dict[str, PristineSample] = {}
    left_out: dict[str, str] = {}
    for sample in sorted(samples, key=lambda s: (s.image.image_id, s.image.sha256)):
        image = sample.image
        if image.sha256 in reference:
            left_out[image.image_id] = "its noise is part of the fingerprint"
        elif image.sha256 in used:
            left_out[image.image_id] = f"same file as {visible(used[image.sha256].image.image_id)}"
        else:
            used[image.sha256] = sample
    return list(used.values()), left_out


def _check_blocks(size: int, samples: Sequence[PristineSample]) -> None:
    blocks = sum(len(sample.rho[size]) for sample in samples)
    if blocks < MIN_BLOCKS:
        raise UserError(
            f"{blocks} windows of {size} px in {len(samples)} photos are too few for a predictor, "
            f"{MIN_BLOCKS} are needed: give more or larger pristine photos"
        )


def _window_model(
    size: int, samples: Sequence[PristineSample], predictor: FeaturePredictor, unseen: Floats
) -> WindowModel:
    """Spreads and R² from ``unseen``, the predictions for images that were not learned from."""
    rho = np.concatenate([sample.rho[size] for sample in samples])
    return WindowModel(
        window=size,
        predictor=predictor,
        sigma0=fit_sigma0(np.concatenate([sample.rho_absent[size] for sample in samples])),
        sigma1=float(np.sqrt(np.mean(np.square(rho - unseen, dtype=np.float64)))),
        adjusted_r2=adjusted_r2(rho, unseen, DESIGN_TERMS - 1),
        blocks=len(rho),
        images=len(samples),
    )


def _merged(
    model: CameraModel,
    predictor: str,
    jpeg_quality: int | None,
    trained: Sequence[WindowModel],
    images: Sequence[UsedImage],
    left_out: Mapping[str, str],
) -> CameraModel:
    """The camera model with what was trained in place of all of its kind."""
    kept = [
        window
        for window in model.windows
        if (window.predictor.name, window.jpeg_quality) != (predictor, jpeg_quality)
    ]
    known = {image.sha256: image for image in model.training} if kept else {}
    known.update((image.sha256, image) for image in images)
    served = {str(w.window) for w in trained} | {image.image_id for image in known.values()}
    reasons = {**(model.left_out if kept else {}), **left_out}
    return replace(
        model,
        windows=tuple(
            sorted(
                [*kept, *trained], key=lambda w: (w.window, w.predictor.name, w.jpeg_quality or 0)
            )
        ),
        training=tuple(sorted(known.values(), key=lambda image: (image.image_id, image.sha256))),
        left_out={name: why for name, why in reasons.items() if name not in served},
    )


def _best(model: CameraModel, window: int) -> str | None:
    """Name of the predictor that windows of images as they are get."""
    mixed = [w for w in model.windows if w.window == window and w.jpeg_quality is None]
    return min(mixed, key=lambda w: w.sigma1).predictor.name if mixed else None
