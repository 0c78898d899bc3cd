"""One image of the truth judged by TruFor's checkpoints, as it is and laundered.

The protocol is the published one (Guillaro et al., CVPR 2023): F1 per image at its best threshold
and at 0.5, the larger of the map's and the inverted map's, without the pixels near the border of
the mask; images by their score. The largest and the mean value of the map are kept as scores, too,
for networks that have no detector and for the comparison of Table 7. Noiseprint++ alone is judged
by the blind localizer, as in Table 5.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field

from forensics import storage
from forensics.config import Settings
from forensics.evaluate.metrics import auc, away_from_border, f1_best, f1_fixed
from forensics.evaluate.scan import Problem, read_mask
from forensics.evaluate.study.cases import status_of
from forensics.evaluate.study.laundering import Laundering, Mask
from forensics.evidence import open_image
from forensics.records import FORGED, PRISTINE, ManifestRow, NotApplicable, Rgb, Status, UserError
from forensics.trufor.blind import BlindLocalizer
from forensics.trufor.checkpoint import holds_noiseprint
from forensics.trufor.inference import Precision
from forensics.trufor.predictor import Prediction, TruFor

AXES = ("checkpoint", "laundering")
"""Columns that tell a variant from the others."""

RECORDS = pa.schema(
    [
        ("image_id", pa.string()),
        ("source", pa.string()),  # data set
        ("label", pa.string()),
        ("checkpoint", pa.string()),
        ("laundering", pa.string()),
        ("f1_best", pa.float64()),  # null, as the next two, where there are no pixels to count
        ("f1_fixed", pa.float64()),
        ("pixel_auc", pa.float64()),
        ("score", pa.float64()),
        ("map_max", pa.float64()),
        ("map_mean", pa.float64()),
        ("confidence_mean", pa.float64()),  # null for Noiseprint++ alone
        ("seconds", pa.float64()),  # of the network
        ("status", pa.string()),
        ("reason", pa.string()),  # also why an image that was judged has no pixels to count
    ]
)


class TruForStudy(Settings):
    """How well TruFor's checkpoints detect and localize, on images as they are and laundered."""

    checkpoints: dict[str, str] = Field(
        min_length=1,
        description="weights to compare, by name: {ours: URI or models:/name/version}; those of "
        "Noiseprint++ alone are judged by the blind localizer",
    )
    launderings: dict[str, Laundering] = Field(
        {"original": Laundering()},
        min_length=1,
        description="what the images go through first, by name: {small: {scale: 0.5}}",
    )
    precision: Precision = Field("float32", description="bfloat16, float16: faster, not exact")
    max_megapixels: float = Field(200.0, gt=0, description="pixels per image, before decoding")
    seed: int = Field(0, ge=0, description="seed of bootstrap intervals")

    def variants(self) -> tuple[tuple[str, str], ...]:
        """Names of checkpoint and laundering, all combinations."""
        return tuple((c, name) for name in self.launderings for c in self.checkpoints)


@dataclass(frozen=True)
class Checkpoints:
    """Files of weights as the driver found them."""

    files: tuple[tuple[str, str, str], ...]
    """Name, URI and SHA-256 of each."""
    precision: Precision

    @property
    def identity(self) -> dict[str, str]:
        """SHA-256 of each by name."""
        return {f"checkpoint.{name}": sha256 for name, _, sha256 in self.files}

    def open(self, device: str) -> dict[str, Localizer]:
        """The networks by name. Raises `UserError` where a file is another than before."""
        found = {}
        for name, uri, sha256 in self.files:
            localizer = open_localizer(storage.read(uri), uri, device, self.precision)
            if localizer.digest != sha256:
                raise UserError(f"the weights {uri} changed while they were in use")
            found[name] = localizer
        return found


Localizer = TruFor | BlindLocalizer


def open_localizer(
    data: bytes, where: str, device: str = "cpu", precision: Precision = "float32"
) -> Localizer:
    """What a file's weights are for. Raises `UserError`, naming it by ``where``, if for neither."""
    if holds_noiseprint(data):
        return BlindLocalizer.from_bytes(data, device, where)
    return TruFor.from_bytes(data, device, precision, where)


def evaluate_image(
    study: TruForStudy, row: ManifestRow, networks: Mapping[str, Localizer], device: str
) -> pa.Table:
    """Records of one image: one per variant, in the order of the study (schema ``RECORDS``).

    A pristine image counts for detection alone, as does a forged one without mask. Never raises on
    account of the image; the networks are on the ``device`` already.
    """
    try:
        rgb, mask = _open(row, study.max_megapixels)
    except Exception as error:
        return abstain(study, row, error)
    records = []
    for name, laundering in study.launderings.items():
        try:
            pixels = laundering.apply(rgb)
            target = _Target(None if mask is None else laundering.carry(mask))
        except Exception as error:
            records += [
                _abstained(row, (checkpoint, name), error) for checkpoint in study.checkpoints
            ]
            continue
        for checkpoint in study.checkpoints:
            variant = checkpoint, name
            try:
                found = _judged(networks[checkpoint], pixels, target)
            except Exception as error:
                records.append(_abstained(row, variant, error))
            else:
                records.append({**_known(row, variant), **found})
    return pa.Table.from_pylist(records, schema=RECORDS)


def abstain(study: TruForStudy, row: ManifestRow, error: Exception) -> pa.Table:
    """Records of an image that could not be judged."""
    records = [_abstained(row, variant, error) for variant in study.variants()]
    return pa.Table.from_pylist(records, schema=RECORDS)


class _Target:
    """Where an image is forged, and which pixels of it count."""

    def __init__(self, forged: Mask | None) -> None:
        self.forged = forged
        self.valid = None if forged is None else away_from_border(forged)
        self.missing: str | None = None
        if forged is not None and self.valid is not None:
            if not (forged & self.valid).any():
                self.missing = "no pixel of the mask is away from its border"
            elif not (~forged & self.valid).any():
                self.missing = "no pixel outside the mask is away from its border"

    def measures(self, anomaly: NDArray[np.float32]) -> dict[str, float]:
        """Of the pixels, as published."""
        if self.forged is None or self.missing is not None:
            return {}
        forged, valid = self.forged, self.valid
        return {
            "f1_best": f1_best(anomaly, forged, valid, either_polarity=True),
            "f1_fixed": f1_fixed(anomaly, forged, valid=valid, either_polarity=True),
            "pixel_auc": auc(anomaly, forged, valid),
        }


def _judged(localizer: Localizer, pixels: Rgb, target: _Target) -> dict[str, Any]:
    height, width = pixels.shape[:2]
    if min(height, width) < localizer.min_side:
        raise NotApplicable(f"{width}x{height} pixels are fewer than {localizer.min_side} a side")
    start = time.perf_counter()
    found = localizer.predict(pixels)
    seconds = time.perf_counter() - start
    sure = float(found.confidence.mean()) if isinstance(found, Prediction) else None
    return {
        **target.measures(found.map),
        "score": found.score,
        "map_max": float(found.map.max()),
        "map_mean": float(found.map.mean()),
        "confidence_mean": sure,
        "seconds": seconds,
        "status": str(Status.OK),
        "reason": target.missing,
    }


def _open(row: ManifestRow, max_megapixels: float) -> tuple[Rgb, Mask | None]:
    """Pixels, and of a forged image the mask, if there is one."""
    if row.label not in (FORGED, PRISTINE):
        raise NotApplicable(f"the label is {row.label!r}, neither {FORGED} nor {PRISTINE}")
    rgb = open_image(row, max_megapixels)[1].pixels
    if row.label == PRISTINE or row.mask_uri is None:
        return rgb, None
    try:
        mask = read_mask(row.mask_uri, *rgb.shape[:2])
    except Problem as problem:
        raise UserError(str(problem)) from None
    if not mask.any():
        raise UserError(f"mask {row.mask_uri} marks no pixel, but the image is forged")
    return rgb, mask


def _abstained(row: ManifestRow, variant: Iterable[str], error: Exception) -> dict[str, Any]:
    status, reason = status_of(error)
    return {**_known(row, variant), "status": str(status), "reason": reason}


def _known(row: ManifestRow, variant: Iterable[str]) -> dict[str, Any]:
    return {
        "image_id": row.image_id,
        "source": row.source,
        "label": row.label,
        **dict(zip(AXES, variant, strict=True)),
    }
