"""The page of a finished or running scan, or the evidence bundle of one of its images.

    python -m jobs.report --run case/scan
    python -m jobs.report --run s3://bucket/run-1 --pictures 10000
    python -m jobs.report --run case/scan --calibration case/calibration.json
    python -m jobs.report --run case/scan --decisions decisions-3f9c1d07.json
    python -m jobs.report --run case/scan --bundle photo_00012.jpg
    python -m jobs.report --run case/scan --bundle photo_00012.jpg --original true

The page lists the worst first, with pictures, and works from the file. The scan itself makes it at
its end, with the pictures of the first 60 images in it; this job makes it again with other numbers,
or by the thresholds of a calibration that was made since (the report's rows stay as they are). More
pictures lie in ``pictures/`` beside the page, which loads them as they come into view. Each means
reading an original again, and is made once: a job that was stopped goes on where it was. What a
reviewer decides on the page and saves comes back by ``--decisions``: into ``decisions/`` and
``decisions.parquet`` of the run, onto the page, and into MLflow.

A bundle holds all that the run says of one image and on what grounds, with hashes; `python -m
forensics verify` checks it without any library. Its digest is printed, and logged to MLflow: keep
it apart from the bundle, it is what proves that a bundle is this one. Exit code 0: it is written;
2: it cannot be, and the message says why.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack

from pydantic import Field

from forensics import storage
from forensics.calibration.record import load_calibration
from forensics.calibration.tally import count_flags
from forensics.config import Settings
from forensics.custody.bundle import make_bundle
from forensics.custody.container import MANIFEST
from forensics.records import UserError
from forensics.report.build import PICTURES, ROWS, build_review, write_review
from forensics.report.decisions import Decision, decisions, latest, merge
from forensics.run import Run, load_document, load_run
from jobs.entry import OK, run_job
from jobs.progress import Progress
from jobs.tracking import TrackingSettings, tracked


class ReportJob(Settings):
    """A page or a bundle: of which run."""

    run: str = Field(description="URI of the run's folder")
    rows: int = Field(ROWS, ge=1, description="rows on the page, worst first")
    pictures: int = Field(
        PICTURES, ge=0, description="rows whose picture is made, if it is not there"
    )
    calibration: str | None = Field(
        None, description="URI of the file of jobs.calibrate that the page is ordered by"
    )
    decisions: str | None = Field(
        None, description="URI of a file of decisions that the page has saved; they are merged"
    )
    bundle: str | None = Field(None, description="image_id: make its evidence bundle, no page")
    original: bool = Field(False, description="put the original file into the bundle")
    output: str | None = Field(None, description="URI of the bundle [<run>/bundles/<image>.zip]")
    tracking: TrackingSettings = TrackingSettings()


def report(job: ReportJob) -> int:
    """Write the page or the bundle and say where it is."""
    run = load_run(job.run)
    if job.bundle is not None:
        if job.decisions is not None:
            raise UserError("decisions go onto the page: give --decisions and --bundle one by one")
        return _bundle(job, run, job.bundle)
    if job.original or job.output:
        raise UserError("the settings original and output are for a bundle: give --bundle IMAGE_ID")
    calibration = None
    if job.calibration is not None:
        calibration = load_calibration(job.calibration)
        calibration.check(load_document(run.uri)["inputs"])
    if job.decisions is not None:
        _merge(job, run, job.decisions)
    with ExitStack() as stack:

        def watch(total: int) -> Callable[[str], None]:
            progress = stack.enter_context(Progress(total, unit="pictures"))
            return lambda outcome: progress.add(1, {outcome: 1})

        review = build_review(run, job.rows, job.pictures, calibration=calibration, watch=watch)
    print(f"page: {write_review(run, review)}")
    if calibration is not None:
        print(count_flags(run, calibration).sentence())
    return OK


def _merge(job: ReportJob, run: Run, uri: str) -> None:
    """Decisions into the run, and their counts and table into MLflow."""
    new = merge(run, uri)
    holding = latest(decisions(run))
    counts = Counter(one.decision for one in holding.values())
    told = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
    text = f"{new} new decisions; {len(holding)} images decided ({told or 'none'})"
    columns = list(Decision.model_fields)
    rows = [one.model_dump(mode="json") for one in holding.values()]
    with tracked("report", job, job.tracking, job.run) as tracker:
        tracker.metrics({f"decisions.{name}": count for name, count in counts.items()})
        tracker.tags({"forensics.digest": run.digest, "mlflow.note.content": text})
        tracker.table({name: [row[name] for row in rows] for name in columns}, "decisions.json")
    print(text)


def _bundle(job: ReportJob, run: Run, image_id: str) -> int:
    made = make_bundle(run, image_id, job.original)
    uri = job.output or storage.join(run.uri, "bundles", f"{_file_name(image_id)}.zip")
    with tracked("report", job, job.tracking, job.run) as tracker:
        storage.write(uri, made.data)
        tracker.tags(
            {
                "forensics.image_id": image_id,
                "forensics.digest": run.digest,
                "forensics.bundle.sha256": made.sha256,
                "mlflow.note.content": f"bundle {uri}\n\nSHA-256 {made.sha256}",
            }
        )
        tracker.metrics({"bundle.bytes": len(made.data), "bundle.members": made.members})
        tracker.text(made.manifest, MANIFEST)
    print(f"bundle: {uri}\nSHA-256 {made.sha256}, {made.members} members")
    print(f"check it with: python -m forensics verify BUNDLE --digest {made.sha256}")
    return OK


def _file_name(image_id: str) -> str:
    """A name for a file that tells the image, and that no two images share."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", image_id).strip("._")[-60:]
    return f"{plain}-{hashlib.sha256(image_id.encode()).hexdigest()[:8]}".lstrip("-")


if __name__ == "__main__":
    run_job(report, ReportJob, __doc__)
