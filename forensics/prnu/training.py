"""From pristine images of a camera to its predictors and spreads.

Two steps, so that a cluster can do the first one for many images at once: `pristine_sample` reduces
an image to a few megabytes of window statistics, `train` fits a camera model to the samples. The
order of the samples does not matter.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import avg_pool2d

from forensics.arrays import to_tensor
from forensics.evaluate.metrics import adjusted_r2
from forensics.localize.threshold import score, stm
from forensics.prnu.camera_model import CameraModel, FalseAlarm, UsedImage, WindowModel
from forensics.prnu.features import DESIGN_TERMS, feature_planes
from forensics.prnu.hypothesis import fit_sigma0, tampering_probability
from forensics.prnu.predictors import LSEPredictor
from forensics.prnu.residual import gray, noise_residual
from forensics.records import NotApplicable, UserError

WINDOWS = (32, 48, 64, 96, 128, 192, 256)  # pixels
AUDIT_WINDOW = 128  # pixels: false alarms are counted with it, at a stride of one cell
CELL = 16  # pixels: every window is a whole number of cells, so cell means give all windows
WORST = 15  # false alarms kept in the card

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class PristineSample:
    """What the windows of one pristine image show, per window size."""

    image: UsedImage
    features: Mapping[int, Floats]  # (n, 4)
    rho: Mapping[int, Floats]  # (n,) with the fingerprint in place
    rho_absent: Mapping[int, Floats]  # (m,) with the residual shifted away from it
    audit_features: Floats  # (h, w, 4) of AUDIT_WINDOW windows, one per cell
    audit_rho: Floats  # (h, w)


def pristine_sample(model: CameraModel, image: UsedImage, rgb: Any) -> PristineSample:
    """Window statistics of a pristine image of the camera, uint8 (H, W, 3).

    Windows overlap by half. Where the fingerprint is absent (H0) is simulated by shifting the
    residual by multiples of `CELL` pixels, large and small, so that whatever repeats with the JPEG
    grid is counted as chance. Raises `NotApplicable` where the size is not the fingerprint's.
    """
    pixels = to_tensor(rgb)
    height, width = pixels.shape[:2]
    if (height, width) != (model.height, model.width):
        raise NotApplicable(
            f"{image.image_id} has {width}x{height} pixels, the fingerprint of {model.camera_id} "
            f"has {model.width}x{model.height}"
        )
    if min(height, width) < 2 * WINDOWS[0]:
        raise NotApplicable(f"{image.image_id} is too small to train windows of {WINDOWS[0]} px")
    K = model.fingerprint.to(pixels.device)
    W = noise_residual(pixels, sigma=model.sigma, levels=model.levels)
    Z = K * gray(pixels)
    height, width = height // CELL * CELL, width // CELL * CELL
    W, Z = W[:height, :width], Z[:height, :width]
    moments = _cells(torch.stack([W, Z, W * W, Z * Z, W * Z]))
    features = _cells(feature_planes(pixels)[:, :height, :width])
    absent = [_shifted(W, Z, moments, shift) for shift in _shifts(height, width)]
    sizes = [size for size in WINDOWS if size <= min(height, width)]
    audit = min(AUDIT_WINDOW, sizes[-1])
    collected: dict[int, tuple[Floats, Floats, Floats]] = {}
    for size in sizes:
        step = max(1, size // CELL // 2)
        rho = _correlation(_windows(moments, size, step)).ravel()
        f = _windows(features, size, step).flatten(1).mT
        known = rho.isfinite()
        none = torch.cat([_correlation(_windows(m, size, step)).ravel() for m in absent])
        collected[size] = (_numpy(f[known]), _numpy(rho[known]), _numpy(none[none.isfinite()]))
    return PristineSample(
        image=image,
        features={size: values[0] for size, values in collected.items()},
        rho={size: values[1] for size, values in collected.items()},
        rho_absent={size: values[2] for size, values in collected.items()},
        audit_features=_numpy(_windows(features, audit, 1).movedim(0, -1)),
        audit_rho=_numpy(_correlation(_windows(moments, audit, 1))),
    )


def train(model: CameraModel, samples: Iterable[PristineSample]) -> CameraModel:
    """The camera model with predictors, spreads and audit fitted to the samples.

    Samples that are equal, or whose image is part of the fingerprint (its noise is in it, so the
    correlations are too high), are left out and named in `CameraModel.left_out`. Raises `UserError`
    where nothing is left to train on.
    """
    used, left_out = _usable(model, samples)
    windows = []
    for size in WINDOWS:
        try:
            windows.append(_window_model(size, used))
        except UserError as error:
            left_out[str(size)] = str(error)
    if not windows:
        raise UserError(
            f"camera {model.camera_id}: no predictor could be trained; "
            + "; ".join(f"{name}: {why}" for name, why in sorted(left_out.items()))
        )
    return replace(
        model,
        windows=tuple(windows),
        training=tuple(sample.image for sample in used),
        left_out=left_out,
        false_alarms=_audit(windows, used),
    )


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
            left_out[image.image_id] = f"same file as {used[image.sha256].image.image_id}"
        else:
            used[image.sha256] = sample
    return list(used.values()), left_out


def _window_model(size: int, samples: Sequence[PristineSample]) -> WindowModel:
    samples = [sample for sample in samples if len(sample.rho.get(size, ())) > 0]
    predictor = _predictor(size, samples)
    features, rho = _pool(size, samples)
    rho_hat = predictor.predict_features(features)
    if len(samples) > 1:
        errors = np.concatenate(
            [
                s.rho[size]
                - _predictor(size, _without(samples, s)).predict_features(s.features[size])
                for s in samples
            ]
        )
    else:
        errors = rho - rho_hat
    return WindowModel(
        window=size,
        predictor=predictor,
        sigma0=fit_sigma0(np.concatenate([s.rho_absent[size] for s in samples])),
        sigma1=float(np.sqrt(np.mean(np.square(errors, dtype=np.float64)))),
        adjusted_r2=adjusted_r2(rho, rho_hat, DESIGN_TERMS - 1),
        blocks=len(rho),
        images=len(samples),
    )


def _audit(
    windows: Sequence[WindowModel], samples: Sequence[PristineSample]
) -> tuple[FalseAlarm, ...]:
    """What each image raises when the predictor has not seen it; the worst ones first."""
    size = min(AUDIT_WINDOW, windows[-1].window)
    spreads = next(window for window in windows if window.window == size)
    alarms = []
    for sample in samples:
        rest = _without(samples, sample)
        if not rest:
            continue
        rho_hat = _predictor(size, rest).predict_features(sample.audit_features)
        probability = tampering_probability(
            sample.audit_rho, rho_hat, spreads.sigma0, spreads.sigma1
        )
        area = float(stm(probability, CELL).mean())
        alarms.append(FalseAlarm(sample.image.image_id, area, score(probability, CELL)))
    alarms.sort(key=lambda alarm: (-alarm.area, -alarm.score, alarm.image_id))
    return tuple(alarms[:WORST])


def _predictor(size: int, samples: Sequence[PristineSample]) -> LSEPredictor:
    return LSEPredictor().fit_features(*_pool(size, samples), window=size)


def _pool(size: int, samples: Sequence[PristineSample]) -> tuple[Floats, Floats]:
    if not samples:
        raise UserError(f"no windows of {size} px in the pristine photos")
    return (
        np.concatenate([sample.features[size] for sample in samples]),
        np.concatenate([sample.rho[size] for sample in samples]),
    )


def _without(samples: Sequence[PristineSample], one: PristineSample) -> list[PristineSample]:
    return [sample for sample in samples if sample is not one]


def _cells(planes: torch.Tensor) -> torch.Tensor:
    means: torch.Tensor = avg_pool2d(planes, CELL)
    return means.to(torch.float64)


def _windows(cells: torch.Tensor, size: int, step: int) -> torch.Tensor:
    """Means over windows of whole cells that lie inside the image."""
    means: torch.Tensor = avg_pool2d(cells, size // CELL, stride=step)
    return means


def _correlation(moments: torch.Tensor) -> torch.Tensor:
    """Equation 2 of the method from the means of W, Z, W², Z², WZ; NaN where either is constant."""
    w, z, ww, zz, wz = moments
    return (wz - w * z) / ((ww - w * w).clamp(min=0) * (zz - z * z).clamp(min=0)).sqrt()


def _shifts(height: int, width: int) -> list[tuple[int, int]]:
    """Circular shifts in cells: near, and far along each axis."""
    rows, columns = height // CELL, width // CELL
    return [(1, 2), (rows // 2, columns // 3), (rows // 3, columns // 2), (rows // 4, 3)]


def _shifted(
    W: torch.Tensor, Z: torch.Tensor, moments: torch.Tensor, shift: tuple[int, int]
) -> torch.Tensor:
    moved = torch.roll(W, (shift[0] * CELL, shift[1] * CELL), (0, 1))
    w, z, ww, zz, _ = moments
    return torch.stack(
        [w.roll(shift, (0, 1)), z, ww.roll(shift, (0, 1)), zz, _cells((moved * Z)[None])[0]]
    )


def _numpy(x: torch.Tensor) -> Floats:
    return x.to(torch.float32).cpu().numpy()
