"""Which pixels lack the fingerprint of the camera?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import pyarrow as pa
from pydantic import Field

from forensics.detectors import Resources, Subject
from forensics.localize.signals import Signals
from forensics.localize.threshold import TAU, score, stm
from forensics.localize.windows import sliding_window
from forensics.prnu.camera import CameraSettings, Match, bytes_to_match, match, rank, too_weak
from forensics.prnu.camera_model import WindowModel
from forensics.prnu.library import CameraLibrary
from forensics.prnu.residual import gray
from forensics.records import Finding, Map, NotApplicable, UserError


class PrnuSettings(CameraSettings):
    """Tampering localization by the camera fingerprint."""

    window: int = Field(default=128, gt=0, description="side of the sliding window in pixels")
    stride: int = Field(default=8, gt=0, description="side of a cell of the maps in pixels")
    tau: float = Field(
        default=TAU, gt=0, lt=1, description="tampering probability from which to decide"
    )
    min_region_px: int = Field(
        default=64, ge=0, description="side of the smallest region in pixels"
    )
    dilation_px: int = Field(
        default=20, ge=0, description="diameter by which regions grow in pixels"
    )


class PrnuDetector:
    """Probability per cell that the camera's fingerprint is missing, and the decision from it.

    The camera is the one the manifest names, else (or if it is not known) the one the fingerprints
    point to. An image
    whose fingerprint is not found as a whole is not examined: all of it would look tampered.
    """

    name: ClassVar[str] = "prnu"
    columns: ClassVar[Mapping[str, pa.DataType]] = {
        "decision": pa.bool_(),
        "tampered_fraction": pa.float64(),
        "camera_id": pa.string(),
        "offset_y": pa.int32(),
        "offset_x": pa.int32(),
        "window": pa.int32(),
        "predictor": pa.string(),
        "tau": pa.float64(),
        "rho_mean": pa.float64(),
        "rho_hat_mean": pa.float64(),
        "gain": pa.float64(),
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
        found = self._camera(subject, self._library)
        model = self._library.model(found.camera_id)
        window = _window_model(model.window, settings.window, subject.image.jpeg_quality)
        rows = slice(found.offset_y, found.offset_y + height)
        columns = slice(found.offset_x, found.offset_x + width)
        signals = Signals(
            rgb=subject.pixels,
            W=subject.residual(model.sigma, model.levels),
            Z=model.fingerprint[rows, columns] * gray(subject.pixels),
        )
        maps = sliding_window(signals, window, settings.stride)
        probability = maps.probability.cpu().numpy()
        decision = stm(
            probability,
            settings.stride,
            settings.tau,
            settings.min_region_px,
            settings.dilation_px,
        )
        return Finding(
            score=score(probability, settings.stride, settings.min_region_px),
            values={
                "decision": bool(decision.any()),
                "tampered_fraction": float(decision.mean()),
                "camera_id": found.camera_id,
                "offset_y": found.offset_y,
                "offset_x": found.offset_x,
                "window": window.window,
                "predictor": window.predictor.name,
                "tau": settings.tau,
                "rho_mean": float(maps.rho.mean()),
                "rho_hat_mean": float(maps.rho_hat.mean()),
                "gain": maps.gain,
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
        return bytes_to_match(self._library, height, width) + 15 * height * width

    def _camera(self, subject: Subject, library: CameraLibrary) -> Match:
        """The camera whose fingerprint the image is held against."""
        claimed = subject.row.camera_id
        settings = self._settings
        if claimed is None or claimed not in library:  # then the fingerprints have the word
            best = rank(subject, library, settings)[0]
            if settings.over(best) < 1:
                raise NotApplicable(f"no known camera: {too_weak(best, settings)}")
            return best
        entry = library.entry(claimed)
        height, width = subject.image.height, subject.image.width
        if height > entry.height or width > entry.width:
            raise NotApplicable(
                f"{width}x{height} pixels do not fit the fingerprint of {claimed} "
                f"({entry.width}x{entry.height}): resized, rotated, or from another camera"
            )
        best = match(subject, library, [entry])[0]
        if settings.over(best) < 1:
            raise NotApplicable(
                f"the image as a whole lacks the fingerprint of {claimed}: "
                f"{too_weak(best, settings)}; another camera, or resized"
            )
        return best


def _window_model(get: Any, window: int, jpeg_quality: int | None) -> WindowModel:
    try:
        model: WindowModel = get(window, jpeg_quality)
    except UserError as error:
        raise NotApplicable(str(error)) from None
    return model
