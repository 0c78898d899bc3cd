"""What can be evaluated, and against which truth."""

from __future__ import annotations

from pydantic import Field

from forensics.config import Settings
from forensics.evaluate.scan import Border
from forensics.evaluate.study.manipulation import ManipulationStudy
from forensics.evaluate.study.origin import OriginStudy
from forensics.evaluate.study.settings import LocalizationStudy, PredictionStudy
from forensics.evaluate.study.trufor import TruForStudy
from jobs.cluster import PoolSettings
from jobs.tracking import TrackingSettings


class EvaluateJob(Settings):
    """An evaluation: of which run or which study, against which truth."""

    run: str | None = Field(None, description="URI of the run's folder, to evaluate a scan")
    prediction: PredictionStudy | None = Field(None, description="study of predictors")
    localization: LocalizationStudy | None = Field(None, description="study of localization")
    trufor: TruForStudy | None = Field(None, description="study of TruFor's checkpoints")
    manipulation: ManipulationStudy | None = Field(None, description="study of manipulations")
    origin: OriginStudy | None = Field(None, description="study of the origin of images")
    truth: str | None = Field(
        default=None, description="URI of the manifest of truth [the run's own]"
    )
    output: str | None = Field(
        default=None, description="URI of the result's folder [<run>/evaluation]"
    )
    border: Border = Field(
        default="count",
        description="pixels near the border of a mask: count, or trufor (left out as published)",
    )
    pool: PoolSettings = PoolSettings()
    tracking: TrackingSettings = TrackingSettings()
