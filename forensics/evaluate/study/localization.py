"""One image of the truth localized in every variant of a study, and counted against its mask."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, cast

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from forensics.evaluate.metrics import Confusion
from forensics.evaluate.scan import (
    THRESHOLDS,
    Border,
    Problem,
    Target,
    read_target,
)
from forensics.evaluate.study.cases import Case, open_case, status_of
from forensics.evaluate.study.settings import LocalizationStudy, Variant, slic_name
from forensics.localize.crf import rgb_at, segment
from forensics.localize.signals import LocalMaps, Signals
from forensics.localize.slic import single_slic
from forensics.localize.strategies import WINDOW, Strategy, localize
from forensics.localize.superpixels import segment_counts
from forensics.localize.threshold import stm
from forensics.prnu.camera_model import WindowModel
from forensics.prnu.library import CameraLibrary
from forensics.records import FORGED, PRISTINE, ManifestRow, NotApplicable, Status, UserError

RECORDS = pa.schema(
    [
        ("image_id", pa.string()),
        ("camera_id", pa.string()),
        ("label", pa.string()),
        ("source", pa.string()),  # kind of forgery
        ("predictor", pa.string()),
        ("strategy", pa.string()),
        ("decision", pa.string()),
        ("jpeg_quality", pa.int32()),  # recompressed at it; null: as the file is
        ("retrained", pa.bool_()),
        ("models", pa.string()),  # predictor@window of every window size used
        ("gain", pa.float64()),  # of the image
        ("tau", pa.float64()),  # null, as all that follows, where there is no map
        ("tp", pa.int64()),  # pixels
        ("fp", pa.int64()),
        ("fn", pa.int64()),
        ("tn", pa.int64()),
        ("seconds", pa.float64()),  # from W and Z to the decision
        ("status", pa.string()),
        ("reason", pa.string()),
    ]
)

Decide = Callable[[float], NDArray[np.bool_]]


def evaluate_image(
    study: LocalizationStudy,
    border: Border,
    row: ManifestRow,
    library: CameraLibrary,
    device: torch.device | str = "cpu",
) -> pa.Table:
    """Records of one image: one per variant and threshold, or one per variant with its reason.

    Residual, Z and the planes behind the features are made once per JPEG quality, probability maps
    once for all decisions. Pristine photos that the camera model was trained on are left out. Never
    raises on account of the image.
    """
    try:
        case, target = _open(row, study, library, device, border)
    except Exception as error:
        return abstain(study, row, error)
    tables = []
    cells = target.cells(study.stride)
    quality: _Quality | None = None
    current: _Located | None = None
    for variant in study.variants():
        try:
            if quality is None or quality.jpeg_quality != variant.jpeg_quality:
                quality, current = _Quality(case, variant.jpeg_quality, study.stride), None
            if current is None or not current.serves(variant):
                current = _Located(case, quality, variant, study)
            counted = current.counted(variant.decision, cells)
        except Exception as error:
            tables.append(abstain(study, row, error, [variant]))
            continue
        known = {
            **_known(row, variant),
            "models": current.used,
            "gain": current.maps.gain,
            "status": str(Status.OK),
        }
        records = [{**known, **count} for count in counted]
        tables.append(pa.Table.from_pylist(records, schema=RECORDS))
    return pa.concat_tables(tables)


def abstain(
    study: LocalizationStudy,
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


class _Quality:
    """An image at one JPEG quality."""

    def __init__(self, case: Case, jpeg_quality: int | None, stride: int) -> None:
        self.jpeg_quality = jpeg_quality
        self._case, self._stride = case, stride

    @cached_property
    def signals(self) -> Signals:
        found = self._case.signals(self.jpeg_quality)
        if not bool(found.W.any()):
            raise NotApplicable("the image is constant: it holds no noise to compare")
        _ = found.features, found.saturation  # made here, so that no strategy is charged for them
        return found

    @cached_property
    def colours(self) -> NDArray[Any]:
        return np.asarray(rgb_at(self.signals.rgb, self._stride).cpu().numpy())


class _Located:
    """The maps of one predictor and strategy."""

    def __init__(
        self, case: Case, quality: _Quality, variant: Variant, study: LocalizationStudy
    ) -> None:
        self._variant, self._quality, self._stride = variant, quality, study.stride
        self._crf = study.crf.model_dump()
        alone = variant.strategy == "sw-ss"
        models = (case.window(variant, WINDOW),) if alone else case.models(variant)
        signals = quality.signals
        start = time.perf_counter()
        self.maps = _localized(variant, signals, models, study)
        self.probability = self.maps.probability.cpu().numpy()
        self._seconds = time.perf_counter() - start
        self.used = " ".join(f"{model.predictor.name}@{model.window}" for model in models)

    def serves(self, variant: Variant) -> bool:
        """Whether only the decision differs."""
        mine = self._variant
        return (mine.predictor, mine.strategy, mine.jpeg_quality, mine.retrained) == (
            variant.predictor,
            variant.strategy,
            variant.jpeg_quality,
            variant.retrained,
        )

    def counted(
        self, decision: str, cells: tuple[NDArray[np.int64], NDArray[np.int64]]
    ) -> list[dict[str, Any]]:
        """Pixels per outcome at every threshold."""
        decide = self._decide(decision)
        counts = []
        for tau in THRESHOLDS.tolist():
            start = time.perf_counter()
            decided = decide(tau)
            seconds = self._seconds + time.perf_counter() - start
            found = count(decided, *cells)
            counts.append(
                {
                    "tau": tau,
                    "tp": found.tp,
                    "fp": found.fp,
                    "fn": found.fn,
                    "tn": found.tn,
                    "seconds": seconds,
                }
            )
        return counts

    def _decide(self, decision: str) -> Decide:
        """From a threshold to the decision map."""
        probability, stride = self.probability, self._stride
        if decision == "crf":
            colours, parameters = self._quality.colours, self._crf
            return lambda tau: segment(probability, colours, tau, **parameters)
        if decision == "stm":
            return lambda tau: stm(probability, stride, tau)
        return lambda tau: probability > tau


def count(
    decided: NDArray[np.bool_], forged: NDArray[np.int64], pristine: NDArray[np.int64]
) -> Confusion:
    """Pixels per outcome of a decision map, from the forged and pristine pixels of each cell."""
    if not decided.shape == forged.shape == pristine.shape:
        raise ValueError(f"a map of {decided.shape} cells for a mask of {forged.shape}")
    tp, fp = int(forged[decided].sum()), int(pristine[decided].sum())
    return Confusion(tp=tp, fp=fp, fn=int(forged.sum()) - tp, tn=int(pristine.sum()) - fp)


def _localized(
    variant: Variant,
    signals: Signals,
    models: tuple[WindowModel, ...],
    study: LocalizationStudy,
) -> LocalMaps:
    sides = {slic_name(side): side for side in study.slic_sides}
    if variant.strategy in sides:
        [segments] = segment_counts(signals.height, signals.width, [sides[variant.strategy]])
        return single_slic(signals, models, study.stride, segments)
    return localize(cast(Strategy, variant.strategy), signals, models, study.stride)


def _open(
    row: ManifestRow,
    study: LocalizationStudy,
    library: CameraLibrary,
    device: torch.device | str,
    border: Border,
) -> tuple[Case, Target]:
    if row.label not in (FORGED, PRISTINE):
        raise NotApplicable(f"the label is {row.label!r}, neither {FORGED} nor {PRISTINE}")
    if row.label == FORGED and row.mask_uri is None:
        raise NotApplicable("forged, but the truth names no mask (mask_uri)")
    case = open_case(row, library, device, study.max_megapixels)
    if case.seen:
        raise NotApplicable("the camera model was trained on this photo")
    if min(case.height, case.width) < WINDOW:
        raise NotApplicable(f"{case.width}x{case.height} pixels are smaller than {WINDOW} a side")
    if row.label == PRISTINE or row.mask_uri is None:
        return case, Target(np.zeros((case.height, case.width), np.bool_))
    try:
        return case, read_target(row.mask_uri, case.height, case.width, border)
    except Problem as problem:
        raise UserError(str(problem)) from None


def _known(row: ManifestRow, variant: Variant) -> dict[str, Any]:
    return {
        "image_id": row.image_id,
        "camera_id": row.camera_id,
        "label": row.label,
        "source": row.source,
        "predictor": variant.predictor,
        "strategy": variant.strategy,
        "decision": variant.decision,
        "jpeg_quality": variant.jpeg_quality,
        "retrained": variant.retrained,
    }
