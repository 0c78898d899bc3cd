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

from collections.abc import Callable
from typing import Any

from forensics.records import UserError
from jobs.entry import run_job
from jobs.evaluation.manipulation import evaluate_manipulation
from jobs.evaluation.origin import evaluate_origin
from jobs.evaluation.per_image import evaluate_study
from jobs.evaluation.scan import evaluate_run
from jobs.evaluation.settings import EvaluateJob

EVALUATIONS: dict[str, Callable[[EvaluateJob, Any], int]] = {
    "run": evaluate_run,
    "prediction": evaluate_study,
    "localization": evaluate_study,
    "trufor": evaluate_study,
    "manipulation": evaluate_manipulation,
    "origin": evaluate_origin,
}
"""Setting -> what evaluates it; exactly one of the settings must be given."""


def evaluate(job: EvaluateJob) -> int:
    """Evaluate the run or the study; returns the exit code."""
    given = [name for name in EVALUATIONS if getattr(job, name) is not None]
    if len(given) != 1:
        have = f"{' and '.join(given)} are given" if given else "none is given"
        raise UserError(f"an evaluation needs exactly one of {', '.join(EVALUATIONS)}; {have}")
    return EVALUATIONS[given[0]](job, getattr(job, given[0]))


if __name__ == "__main__":
    run_job(evaluate, EvaluateJob, __doc__)
