"""How well: a finished scan against the truth, or a study of the papers on your own cameras.

    python -m jobs.evaluate --run case/scan --truth truth.parquet
    python -m jobs.evaluate --run s3://bucket/run-1 --border trufor
    python -m jobs.evaluate --config configs/evaluate_strategies.yaml
    ray job submit --working-dir . -- python -m jobs.evaluate --config configs/evaluate.yaml

The truth is a manifest with ``label`` (forged or pristine), ``mask_uri``, ``source`` (kind of
forgery) and ``camera_id``. For a run it is joined by ``image_id``; what it leaves open, and all if
there is none, is taken from the scan's own manifest. A study judges the images of the truth itself,
in all variants it is asked for: ``prediction`` compares predictors on pristine photos,
``localization`` compares ways to find forged pixels, ``trufor`` compares TruFor's checkpoints on
data sets (``source``), as they are and laundered, ``manipulation`` trains networks and baselines
on pristine photos and compares how well they tell manipulated ones of other devices, ``origin``
does so for images of several origins (``label``) from other sources (both continue after a kill
with the cells that are missing). Exit code 0: everything was compared; 1: shards,
images, masks or cells are missing or damaged, or a variant judged no image, and the output says
which; 2: bad input, nothing was written.
"""

from __future__ import annotations

from pydantic import Field

from forensics.config import Settings
from forensics.evaluate.scan import Border
from forensics.evaluate.study.manipulation import ManipulationStudy
from forensics.evaluate.study.origin import OriginStudy
from forensics.evaluate.study.settings import LocalizationStudy, PredictionStudy
from forensics.evaluate.study.trufor import TruForStudy
from forensics.records import UserError
from jobs.cluster import PoolSettings
from jobs.entry import run_job
from jobs.evaluate_run import evaluate_run
from jobs.manipulation_study import evaluate_manipulation
from jobs.origin_study import evaluate_origin
from jobs.studies import evaluate_study
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


def evaluate(job: EvaluateJob) -> int:
    """Evaluate the run or the study; returns the exit code."""
    asked = {
        "run": job.run,
        "prediction": job.prediction,
        "localization": job.localization,
        "trufor": job.trufor,
        "manipulation": job.manipulation,
        "origin": job.origin,
    }
    given = [name for name, value in asked.items() if value is not None]
    if len(given) != 1:
        have = f"{' and '.join(given)} are given" if given else "none is given"
        raise UserError(f"an evaluation needs exactly one of {', '.join(asked)}; {have}")
    if job.run is not None:
        return evaluate_run(job, job.run)
    if job.manipulation is not None:
        return evaluate_manipulation(job, job.manipulation)
    if job.origin is not None:
        return evaluate_origin(job, job.origin)
    study = job.prediction or job.localization or job.trufor
    if study is None:
        raise UserError("no study is given")
    return evaluate_study(job, study)


if __name__ == "__main__":
    run_job(evaluate, EvaluateJob, __doc__)
