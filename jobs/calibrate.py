r"""Thresholds for a budget of false alarms, from a finished scan of your own pristine images.

    python -m jobs.scan --config configs/scan.yaml --manifest case/untouched.parquet \
        --output case/untouched
    python -m jobs.calibrate --run case/untouched --output case/calibration.json --rate 0.01
    python -m jobs.scan --config configs/scan.yaml --calibration case/calibration.json \
        --output case/scan-calibrated

The rate is the share of pristine images that may be flagged: 0.001 is about 10 false alarms in an
archive of 10,000 images. With D detectors that share it, each needs D/rate - 1 images with a score;
more make the interval narrower. The images must be like those of the archive, and none of them may
have been used to make fingerprints, camera models or networks; those of the camera models are left
out by their SHA-256. Exit code 0: the file is written; 2: it cannot be made, and the message says
what is missing.
"""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import Field

from forensics import storage
from forensics.calibration.build import calibrate, collect, images_of_models
from forensics.calibration.record import Calibration
from forensics.config import Settings
from forensics.evaluate import plots
from forensics.records import UserError
from forensics.run import Run, load_document, load_run
from jobs.entry import OK, run_job
from jobs.tracking import Tracker, TrackingSettings, as_name, tracked


class CalibrateJob(Settings):
    """A calibration: from which scan, for which rate."""

    run: str = Field(description="URI of the finished scan of pristine images")
    output: str = Field(description="URI of the calibration's file")
    rate: float = Field(gt=0, lt=1, description="share of pristine images that may be flagged")
    confidence: float = Field(0.95, gt=0, lt=1, description="confidence of the intervals")
    detectors: tuple[str, ...] | None = Field(
        None, description="detectors that share the rate [all that gave scores]"
    )
    tracking: TrackingSettings = TrackingSettings()


def make_calibration(job: CalibrateJob) -> int:
    """Write the calibration and say what it promises."""
    run = load_run(job.run)
    found = collect(run, _learned(run))
    calibration = calibrate(run, found, job.rate, job.confidence, job.detectors)
    with tracked("calibrate", job, job.tracking, job.output) as tracker:
        text = calibration.model_dump_json(indent=1)
        storage.write(job.output, text.encode())
        lines = list(_lines(calibration, job.output))
        tracker.tags({"forensics.digest": calibration.digest})
        tracker.tags({"mlflow.note.content": "\n\n".join(lines)})
        tracker.text(text, "calibration.json")
        _track(tracker, calibration)
        for name in calibration.detectors:
            figure = plots.histogram({"pristine": found.scores[name]}, name, "score")
            tracker.figure(figure, f"{as_name(name)}/scores.png")
    print("\n".join(lines))
    return OK


def _learned(run: Run) -> set[str] | None:
    """Images that the run's camera models were made from; None where these cannot be read."""
    uri = load_document(run.uri)["settings"].get("camera_models")
    if uri is None:
        return set()
    try:
        return images_of_models(uri)
    except UserError as error:
        print(f"warning: not checked whether camera models were made from these images: {error}")
        return None


def _track(tracker: Tracker, calibration: Calibration) -> None:
    for name, known in calibration.detectors.items():
        numbers = {
            "pristine": known.pristine,
            "abstained": known.abstained,
            "failed": known.failed,
            "threshold": known.threshold,
            "rate.low": known.rate_low,
            "rate.high": known.rate_high,
        }
        tracker.metrics({as_name(f"{name}.{key}"): value for key, value in numbers.items()})


def _lines(calibration: Calibration, output: str) -> Iterator[str]:
    yield f"{calibration.images} pristine images -> {output}"
    if calibration.copies:
        yield f"{calibration.copies} are copies of others and were not counted again"
    if calibration.learned is None:
        yield (
            "warning: it was not checked whether camera models were made from these images; every "
            "scan by this calibration will say so"
        )
    elif calibration.learned:
        yield (
            f"{calibration.learned} were left out: the camera models were made from them, so their "
            "scores are lower than those of other images"
        )
    for name, known in calibration.detectors.items():
        yield (
            f"{name}: flags scores above {known.threshold:.4f}, a share of about "
            f"{known.rank / (known.pristine + 1):.3g} of pristine images "
            f"({calibration.confidence:.0%} interval {known.rate_low:.2g} to "
            f"{known.rate_high:.2g}); {known.pristine} scores, abstained {known.abstained}, failed "
            f"{known.failed}"
        )
        if known.threshold >= 1:
            yield (
                f"note: {name} can flag nothing at this rate: too many pristine images have its "
                "highest score. Choose a higher rate, or leave it out (setting detectors)."
            )
    several = len(calibration.detectors)
    if several > 1:
        yield (
            f"together they flag at most {calibration.rate:g} of pristine images: each has 1/"
            f"{several} of the budget"
        )


if __name__ == "__main__":
    run_job(make_calibration, CalibrateJob, __doc__)
