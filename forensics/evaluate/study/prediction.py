"""Measured and predicted correlations of random blocks of a pristine photo."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from forensics.evaluate.study.cases import Case, open_case, status_of
from forensics.evaluate.study.settings import PredictionStudy, Variant
from forensics.localize.signals import Signals
from forensics.prnu.camera_model import WindowModel
from forensics.prnu.correlation import ncc
from forensics.prnu.library import CameraLibrary
from forensics.prnu.predictors import FeaturePredictor
from forensics.records import FORGED, ManifestRow, NotApplicable, Status

RECORDS = pa.schema(
    [
        ("image_id", pa.string()),
        ("camera_id", pa.string()),
        ("predictor", pa.string()),
        ("jpeg_quality", pa.int32()),  # recompressed at it; null: as the file is
        ("retrained", pa.bool_()),
        ("seen", pa.bool_()),  # the camera model was trained on this photo
        ("y", pa.int32()),  # of the block's first pixel
        ("x", pa.int32()),
        ("rho", pa.float32()),
        ("rho_hat", pa.float32()),  # at least 0, without the gain of the image
        ("saturation", pa.float32()),  # S, mean over the block
        ("status", pa.string()),
        ("reason", pa.string()),
    ]
)

_BATCH = 64  # blocks predicted at once


def evaluate_image(
    study: PredictionStudy,
    row: ManifestRow,
    library: CameraLibrary,
    device: torch.device | str = "cpu",
) -> pa.Table:
    """Records of one photo: one per variant and block, or one per variant with status and reason.

    Never raises on account of the image.
    """
    try:
        case = _photo(row, study, library, device)
    except Exception as error:
        return abstain(study, row, error)
    tables = []
    places = _places(case, study, row.image_id)
    made: dict[int | None, tuple[Signals, dict[str, Any]]] = {}
    for variant in study.variants():
        quality = variant.jpeg_quality
        try:
            if quality not in made:
                made.clear()
                made[quality] = _measured(case, quality, places, study.window)
            signals, measured = made[quality]
            rho_hat = predict_blocks(case.window(variant, study.window), signals, places)
        except Exception as error:
            tables.append(abstain(study, row, error, [variant]))
            continue
        columns = {
            **_known(row, variant),
            "seen": case.seen,
            "y": places[:, 0],
            "x": places[:, 1],
            **measured,
            "rho_hat": rho_hat,
            "status": str(Status.OK),
        }
        tables.append(_table(columns, len(places)))
    return pa.concat_tables(tables)


def abstain(
    study: PredictionStudy,
    row: ManifestRow,
    error: Exception,
    variants: Sequence[Variant] | None = None,
) -> pa.Table:
    """Records of an image that could not be judged: one per variant of the study, or of those."""
    status, reason = status_of(error)
    found = {"status": str(status), "reason": reason}
    asked = study.variants() if variants is None else variants
    records = [{**_known(row, variant), **found} for variant in asked]
    return pa.Table.from_pylist(records, schema=RECORDS)


def predict_blocks(
    model: WindowModel, signals: Signals, places: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Predictions, at least 0, for blocks of the model's window at (n, 2) places (y, x)."""
    side = model.window
    if isinstance(model.predictor, FeaturePredictor):
        # As in a dense map: the quantities behind the features are those of the whole image.
        features = block_means(signals.features, places, side)
        rho_hat = model.predictor.predict_features(features)
    else:
        batches = [
            torch.stack([signals.rgb[y : y + side, x : x + side] for y, x in batch])
            for batch in (places[i : i + _BATCH].tolist() for i in range(0, len(places), _BATCH))
        ]
        rho_hat = torch.cat([model.predictor.predict(batch) for batch in batches])
    found: NDArray[np.float32] = rho_hat.clamp(min=0).cpu().numpy()
    return found


def block_means(planes: torch.Tensor, places: NDArray[np.int64], side: int) -> torch.Tensor:
    """Means of planes (C, H, W) over the blocks: (n, C)."""
    means = [planes[:, y : y + side, x : x + side].mean((1, 2)) for y, x in places.tolist()]
    return torch.stack(means)


def _photo(
    row: ManifestRow, study: PredictionStudy, library: CameraLibrary, device: torch.device | str
) -> Case:
    if row.label == FORGED:
        raise NotApplicable("the photo is forged; predictors are judged on pristine ones")
    case = open_case(row, library, device, study.max_megapixels)
    if case.seen and not study.include_training:
        raise NotApplicable("the camera model was trained on this photo")
    if min(case.height, case.width) < study.window:
        raise NotApplicable(
            f"{case.width}x{case.height} pixels are smaller than a block of {study.window}"
        )
    return case


def _places(case: Case, study: PredictionStudy, image_id: str) -> NDArray[np.int64]:
    """First pixels (y, x) of the blocks: int64 (n, 2), the same for every variant."""
    name = int.from_bytes(hashlib.sha256(image_id.encode()).digest()[:8], "big")
    random = np.random.default_rng([study.seed, name])
    ends = (case.height - study.window + 1, case.width - study.window + 1)
    return random.integers(0, ends, size=(study.blocks_per_image, 2))


def _measured(
    case: Case, quality: int | None, places: NDArray[np.int64], side: int
) -> tuple[Signals, dict[str, Any]]:
    signals = case.signals(quality)
    if not bool(signals.W.any()):
        raise NotApplicable("the image is constant: it holds no noise to compare")
    blocks = [(slice(y, y + side), slice(x, x + side)) for y, x in places.tolist()]
    rho = np.array([ncc(signals.W[block], signals.Z[block]) for block in blocks], np.float32)
    saturation = block_means(signals.saturation[None], places, side)[:, 0].cpu().numpy()
    return signals, {"rho": rho, "saturation": saturation}


def _known(row: ManifestRow, variant: Variant) -> dict[str, Any]:
    return {
        "image_id": row.image_id,
        "camera_id": row.camera_id,
        "predictor": variant.predictor,
        "jpeg_quality": variant.jpeg_quality,
        "retrained": variant.retrained,
    }


def _table(columns: dict[str, Any], rows: int) -> pa.Table:
    """A table from arrays and from values that are the same in every row."""
    arrays = []
    for field in RECORDS:
        value = columns.get(field.name)
        if isinstance(value, np.ndarray):
            arrays.append(pa.array(value, field.type))
        else:
            arrays.append(pa.repeat(pa.scalar(value, field.type), rows))
    return pa.table(arrays, schema=RECORDS)
