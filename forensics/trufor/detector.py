"""Where does an image deviate from itself, how sure is that, is it forged?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor
from torch.nn.functional import avg_pool2d

from forensics.config import Settings
from forensics.detectors import Resources, Subject
from forensics.records import Finding, Map, NotApplicable
from forensics.trufor.inference import Precision
from forensics.trufor.predictor import TruFor

_BYTES_PER_PIXEL = 160  # about 100 measured on 12 megapixels
_BYTES_AT_LEAST = 200 * 2**20  # strips


class TruForDetectorSettings(Settings):
    """Forgery detection and localization by TruFor."""

    checkpoint: str | None = Field(
        default=None,
        description="weights: path or s3:// URI of trufor.pth.tar or of our own file; in jobs also "
        "models:/name/version",
    )
    precision: Precision = Field(
        default="float32",
        description="bfloat16, float16: faster on GPUs and recent CPUs, not exact",
    )
    stride: int = Field(default=4, gt=0, description="side of a cell of the maps in pixels")
    tau: float = Field(
        default=0.5, gt=0, lt=1, description="probability from which a cell is called tampered"
    )
    score_threshold: float = Field(
        default=0.5, gt=0, lt=1, description="score from which the image is called tampered"
    )
    noiseprint: bool = Field(default=False, description="keep Noiseprint++ as a map as well")


class TruForDetector:
    """TruFor (arXiv:2212.10957): score, probability per cell, and the confidence in it."""

    name: ClassVar[str] = "trufor"
    columns: ClassVar[Mapping[str, pa.DataType]] = {
        "decision": pa.bool_(),
        "tampered_fraction": pa.float64(),
        "confidence_mean": pa.float64(),
        "confidence_tampered": pa.float64(),
        "tau": pa.float64(),
        "score_threshold": pa.float64(),
        "precision": pa.string(),
    }

    def __init__(self, settings: TruForDetectorSettings, resources: Resources) -> None:
        self._settings = settings
        self._trufor = (
            None
            if settings.checkpoint is None
            else TruFor.from_checkpoint(settings.checkpoint, resources.device, settings.precision)
        )

    def examine(self, subject: Subject) -> Finding:
        """Maps at the stride of the settings; ``decision`` is that of the score, not of the map."""
        settings, trufor = self._settings, self._trufor
        if trufor is None:
            raise NotApplicable(
                "no weights: the setting trufor.checkpoint is not given; train some with "
                "jobs.train_trufor, or get the published trufor.pth.tar (for non-profit use only) "
                "from https://github.com/grip-unina/TruFor and pass its path"
            )
        height, width = subject.image.height, subject.image.width
        if min(height, width) < trufor.min_side:
            raise NotApplicable(
                f"{width}x{height} pixels are smaller than the {trufor.min_side} a side it needs"
            )
        found = trufor.predict(subject.pixels)
        probability, confidence = self._cells(found.map), self._cells(found.confidence)
        decision = probability >= settings.tau
        maps = [
            Map("probability", settings.stride, probability),
            Map("confidence", settings.stride, confidence),
            Map("decision", settings.stride, decision),
        ]
        if settings.noiseprint:
            maps.append(Map("noiseprint", 1, _shown(found.noiseprint)))
        return Finding(
            score=found.score,
            values={
                "decision": found.score >= settings.score_threshold,
                "tampered_fraction": float(decision.mean()),
                "confidence_mean": float(confidence.mean()),
                "confidence_tampered": (
                    float(confidence[decision].mean()) if decision.any() else None
                ),
                "tau": settings.tau,
                "score_threshold": settings.score_threshold,
                "precision": settings.precision,
            },
            maps=tuple(maps),
        )

    def identity(self) -> Mapping[str, Any]:
        """The weights."""
        return {"checkpoint": self._trufor.digest if self._trufor else None}

    def bytes_needed(self, height: int, width: int) -> int:
        """Upper bound of what was measured: proportional to the pixels."""
        return _BYTES_AT_LEAST + _BYTES_PER_PIXEL * height * width

    def _cells(self, plane: Tensor) -> NDArray[np.float32]:
        """Means per cell; those at the border are of the pixels they have."""
        cells = avg_pool2d(plane[None, None], self._settings.stride, ceil_mode=True)[0, 0]
        values: NDArray[np.float32] = cells.clamp(0, 1).cpu().numpy()
        return values


def _shown(noiseprint: Tensor) -> NDArray[np.float32]:
    """Scaled so that all but the outermost hundredths lie in 0..1; it has no range of its own."""
    values = noiseprint.cpu().numpy()
    low, high = np.percentile(values, (1, 99))
    span = max(float(high - low), np.finfo(np.float32).tiny)
    shown: NDArray[np.float32] = ((values - low) / span).clip(0, 1).astype(np.float32)
    return shown
