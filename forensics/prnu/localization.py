"""Which pixels lack the fingerprint of the camera?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field

from forensics.detectors import Resources, Subject
from forensics.localize import crf
from forensics.localize.crf import CRFSettings
from forensics.localize.signals import Signals
from forensics.localize.strategies import SEGMENTS, WINDOW, Strategy, localize
from forensics.localize.threshold import TAU, score, stm
from forensics.prnu.camera import CameraSettings, bytes_to_match
from forensics.prnu.camera_model import CameraModel, WindowModel
from forensics.prnu.residual import gray
from forensics.prnu.saturation import SATURATED, saturation_plane
from forensics.prnu.source import source_camera
from forensics.records import Finding, Map, NotApplicable, UserError

CRF_TAU = 0.72
"""Default threshold of the CRF: on real photos fewer of the pristine ones than STM at its own."""

_PLANES = 18  # float32 planes of the image that are held at once, at most


class PrnuSettings(CameraSettings):
    """Tampering localization by the camera fingerprint."""

    strategy: Strategy = Field(
        default="m-slic",
        description="pixels judged together: sw-ss one sliding window (fastest), sw-sg the pixels "
        "of it that are like its centre, sw-ms windows of all sizes, s-slic superpixels, m-slic of "
        "all sizes (most exact)",
    )
    predictor: Literal["best", "lse", "ffn", "cnn"] = Field(
        default="best", description="what predicts the correlation; best: the smallest error"
    )
    window: int = Field(
        default=WINDOW, gt=0, description="side of the window of sw-ss and sw-sg in pixels"
    )
    segments: int = Field(default=SEGMENTS, gt=0, description="superpixels of s-slic")
    stride: int = Field(default=8, gt=0, description="side of a cell of the maps in pixels")
    decision: Literal["stm", "crf"] = Field(
        default="crf", description="stm threshold and morphology, crf a random field"
    )
    tau: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description=f"tampering probability from which to decide [stm {TAU}, crf {CRF_TAU}]",
    )
    min_region_px: int = Field(
        default=64, ge=0, description="stm: side of the smallest region in pixels"
    )
    dilation_px: int = Field(
        default=20, ge=0, description="stm: diameter by which regions grow in pixels"
    )
    crf: CRFSettings = CRFSettings()


class PrnuDetector:
    """Probability per cell that the camera's fingerprint is missing, and the decision from it.

    The camera is the one the manifest names, else (or if it is not known) the one the fingerprints
    point to. An image whose fingerprint is not found as a whole is not examined: all of it would
    look tampered. Neither is one that is saturated nearly everywhere.
    """

    name: ClassVar[str] = "prnu"
    columns: ClassVar[Mapping[str, pa.DataType]] = {
        "decision": pa.bool_(),
        "tampered_fraction": pa.float64(),
        "camera_id": pa.string(),
        "offset_y": pa.int32(),
        "offset_x": pa.int32(),
        "strategy": pa.string(),
        "windows": pa.list_(pa.int32()),
        "predictors": pa.list_(pa.string()),
        "predictor_qualities": pa.list_(pa.int32()),
        "decided_by": pa.string(),
        "tau": pa.float64(),
        "rho_mean": pa.float64(),
        "rho_hat_mean": pa.float64(),
        "gain": pa.float64(),
        "saturated_fraction": pa.float64(),
    }

    def __init__(self, settings: PrnuSettings, resources: Resources) -> None:
        self._settings = settings
        self._library = resources.library

    def examine(self, subject: Subject) -> Finding:
        """Maps at the stride of the settings; ``score`` is the highest threshold still decided."""
        settings = self._settings
        height, width = subject.image.height, subject.image.width
        if min(height, width) < settings.window:
            raise NotApplicable(
                f"{width}x{height} pixels are smaller than the window of {settings.window}"
            )
        if self._library is None:
            raise NotApplicable("no fingerprints: the setting camera_models is not given")
        saturated = _saturated(subject)
        found = source_camera(subject, self._library, settings)
        model = self._library.model(found.camera_id)
        models = self._models(model, subject.image.jpeg_quality)
        rows = slice(found.offset_y, found.offset_y + height)
        columns = slice(found.offset_x, found.offset_x + width)
        signals = Signals(
            rgb=subject.pixels,
            W=subject.residual(model.sigma, model.levels),
            Z=model.fingerprint[rows, columns] * gray(subject.pixels),
        )
        maps = localize(
            settings.strategy,
            signals,
            models,
            settings.stride,
            window=settings.window,
            segments=settings.segments,
        )
        probability = maps.probability.cpu().numpy()
        decision, tau, highest = self._decide(probability, signals)
        return Finding(
            score=highest,
            values={
                "decision": bool(decision.any()),
                "tampered_fraction": float(decision.mean()),
                "camera_id": found.camera_id,
                "offset_y": found.offset_y,
                "offset_x": found.offset_x,
                "strategy": settings.strategy,
                "windows": [model.window for model in models],
                "predictors": [model.predictor.name for model in models],
                "predictor_qualities": [model.jpeg_quality for model in models],
                "decided_by": settings.decision,
                "tau": tau,
                "rho_mean": float(maps.rho.mean()),
                "rho_hat_mean": float(maps.rho_hat.mean()),
                "gain": maps.gain,
                "saturated_fraction": saturated,
            },
            maps=(
                Map("probability", settings.stride, probability),
                Map("decision", settings.stride, decision),
            ),
        )

    def identity(self) -> Mapping[str, Any]:
        """The camera models that were compared with."""
        return {"camera_models": self._library.digest if self._library else None}

    def bytes_needed(self, height: int, width: int) -> int:
        """What finding the camera takes, and the planes behind the maps."""
        return bytes_to_match(self._library, height, width) + _PLANES * 4 * height * width

    def _models(self, model: CameraModel, jpeg_quality: int | None) -> Sequence[WindowModel]:
        """The predictors to use; SW-SS needs only that of its window."""
        settings = self._settings
        predictor = None if settings.predictor == "best" else settings.predictor
        try:
            if settings.strategy == "sw-ss":
                return [model.window(settings.window, jpeg_quality, predictor)]
            return model.sizes(jpeg_quality, predictor)
        except UserError as error:
            raise NotApplicable(str(error)) from None

    def _decide(
        self, probability: NDArray[Any], signals: Signals
    ) -> tuple[NDArray[np.bool_], float, float]:
        """The decision, the threshold it was made at, and the highest one that finds something."""
        settings = self._settings
        if settings.decision == "crf":
            tau = CRF_TAU if settings.tau is None else settings.tau
            colours = crf.rgb_at(signals.rgb, settings.stride).cpu().numpy()
            parameters = settings.crf.model_dump()
            labels = crf.segment(probability, colours, tau, **parameters)
            return np.asarray(labels), tau, crf.score(probability, colours, **parameters)
        tau = TAU if settings.tau is None else settings.tau
        stride, region = settings.stride, settings.min_region_px
        decision = stm(probability, stride, tau, region, settings.dilation_px)
        return decision, tau, score(probability, stride, region)


def _saturated(subject: Subject) -> float:
    """Part of the image that is saturated; raises `NotApplicable` where that is nearly all."""
    fraction = float(saturation_plane(subject.pixels).mean())
    if fraction >= SATURATED:
        raise NotApplicable(
            f"{fraction:.0%} of the image is saturated, where no fingerprint can show"
        )
    return fraction
