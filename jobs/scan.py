"""Scan the images of a manifest: one report row for every row, maps where there is much to see.

    python -m jobs.scan --config configs/scan.yaml
    python -m jobs.scan --config configs/scan.yaml --output s3://bucket/run-1 --detectors camera
    python -m jobs.scan --config configs/scan.yaml --calibration case/calibration.json
    python -m jobs.scan --config configs/scan.yaml --retry status=timeout,failed
    ray job submit --working-dir . -- python -m jobs.scan --config configs/scan.yaml

A scan that was killed is continued by the same command. Exit code 0: every manifest row has its
report row; 1: rows are missing, and the last lines say which, or what stopped the scan; 2: bad
input, nothing was done.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

import torch
from pydantic import Field, field_validator

from forensics import storage
from forensics.audit import audit, rows_with_status
from forensics.calibration.record import Calibration, load_calibration
from forensics.calibration.tally import Flags, count_flags
from forensics.config import digest, flat
from forensics.lease import Lease
from forensics.manifest import Freezer, Frozen
from forensics.records import Status
from forensics.report.build import build_review, write_review
from forensics.run import Run, open_run, versions
from forensics.scan import ScanSettings, build_detectors, identities
from jobs.cluster import PoolSettings, connected
from jobs.entry import INCOMPLETE, OK, begun, run_job
from jobs.meters import ScanMeter, scan_key
from jobs.progress import Progress
from jobs.run_page import show
from jobs.shards import Units, scan_shards
from jobs.tracking import Tracker, TrackingSettings, as_name, store_uri, tracked
from jobs.weights import resolved

METRIC_SECONDS, METRIC_SHARE = 5.0, 0.001
"""Between two points of a curve in MLflow, and the same as a share of the scan's time so far: the
longer of both, so that a scan of a month makes thousands of points and not half a million."""


class ScanJob(ScanSettings):
    """A scan: what to read, where to write, how to spread the work."""

    manifest: str = Field(description="URI of the manifest (Parquet file or folder)")
    output: str = Field(description="URI of the run's folder")
    limit: int | None = Field(None, ge=1, description="only the first rows of the manifest")
    calibration: str | None = Field(
        None, description="URI of the file of jobs.calibrate that images are flagged by"
    )
    retry: tuple[Status, ...] = Field((), description="redo rows: status=timeout,failed")
    shard_rows: int = Field(64, ge=1, description="rows per shard, the unit of commit")
    pool: PoolSettings = PoolSettings()
    tracking: TrackingSettings = TrackingSettings()

    @field_validator("retry", mode="before")
    @classmethod
    def _statuses(cls, value: Any) -> Any:
        """``status=timeout,failed`` as the command line hands it over."""
        parts = [value] if isinstance(value, str) else list(value)
        words = [word for part in parts for word in str(part).removeprefix("status=").split(",")]
        return tuple(word for word in words if word)


def scan(job: ScanJob) -> int:
    """Run the scan; returns the exit code."""
    settings = scan_settings(job)
    store = store_uri(job.tracking, job.output)
    usable = resolved(settings, store, storage.join(job.output, "weights"))
    detectors = build_detectors(usable, torch.device("cpu"))
    calibration = load_calibration(job.calibration) if job.calibration else None
    with Lease(job.output) as lease:
        run = _open(job, identities(detectors), calibration)
        del detectors
        with begun():
            units = _units(run, job.retry)
        key = scan_key(run.digest, job.output)
        with (
            tracked("scan", job, job.tracking, job.output, key) as tracker,
            connected(job.pool) as pool,
        ):
            tracker.tags({"forensics.output": job.output, "forensics.digest": run.digest})
            with begun():
                _work(run, usable, job, units, pool, tracker, lease, calibration)
                return _finish(run, tracker, lease, calibration)


def scan_settings(job: ScanJob) -> ScanSettings:
    """What of the job its answers depend on."""
    return ScanSettings(**{name: getattr(job, name) for name in ScanSettings.model_fields})


def run_inputs(
    job: ScanJob, frozen: Frozen, identity: Mapping[str, Any], calibration: Calibration | None
) -> dict[str, Any]:
    """What the run's answers depend on, by dotted name: what binds it to its folder.

    ``identity`` is that of the detectors by name. Raises `UserError` for a calibration that does
    not hold for these.
    """
    inputs = {
        "manifest": frozen.digest,
        "shard_rows": job.shard_rows,
        **{f"detectors.{name}": digest(known) for name, known in identity.items()},
        **{f"versions.{name}": version for name, version in versions().items()},
        **{
            f"settings.{name}": value
            for name, value in flat(scan_settings(job)).items()
            if name != "camera_models"  # its content is in the detectors' identity
        },
    }
    if calibration is not None:
        calibration.check(inputs)
        inputs["calibration"] = calibration.digest
    return inputs


def _open(job: ScanJob, identity: Mapping[str, Any], calibration: Calibration | None) -> Run:
    """Begin or continue the run in the output folder; manifest and calibration are kept in it."""
    with Freezer(job.manifest, job.shard_rows, job.limit) as freezer:
        frozen = freezer.frozen
        for name in frozen.ignored:
            print(f"note: the manifest's column {name!r} means nothing here and is ignored")
        inputs = run_inputs(job, frozen, identity, calibration)
        if calibration is not None and (
            lacking := [name for name in identity if name not in calibration.detectors]
        ):
            print(f"note: the calibration has no scores of {', '.join(lacking)}: flags nothing")
        run = open_run(
            job.output,
            inputs=inputs,
            settings=job.model_dump(mode="json"),
            detectors=job.detectors,
            rows=frozen.rows,
            shards=frozen.shards,
            shard_rows=job.shard_rows,
            models=identity,
            calibration=calibration.digest if calibration else None,
        )
        if calibration is not None:
            storage.write(run.calibration_uri, calibration.model_dump_json(indent=1).encode())
        if not storage.exists(run.manifest_uri):
            freezer.commit(run.manifest_uri)
    return run


def _units(run: Run, retry: tuple[Status, ...]) -> Units:
    """What is left to do: shards that are not committed, and the rows to be redone."""
    committed = run.committed()
    units: Units = {shard: () for shard in range(run.shards) if shard not in committed}
    if retry:
        units |= rows_with_status(run, {str(status) for status in retry})
    return units


def _work(
    run: Run,
    settings: ScanSettings,
    job: ScanJob,
    units: Units,
    pool: Any,
    tracker: Tracker,
    lease: Lease,
    calibration: Calibration | None,
) -> None:
    rows = sum(len(again) or len(run.rows_of(shard)) for shard, again in units.items())
    done = run.shards - sum(not again for again in units.values())
    print(
        f"{run.rows} images in {run.shards} shards, {rows} to do, {pool.workers} workers "
        f"-> {run.uri}",
        flush=True,
    )
    run.note("running", {"rows": run.rows, "to_do": rows})
    with (
        Progress(total=run.rows, done=run.rows - rows) as progress,
        ScanMeter(run, done, len(units)) as meter,
    ):
        course = _Course(tracker, progress)
        for ledger in scan_shards(run, settings, pool, job.pool.prefetch, units, calibration):
            lease.check()
            progress.add(ledger["rows"], {str(s): ledger[str(s)] for s in Status})
            course.add(ledger)
            meter.committed(again=bool(units[ledger["shard"]]))
        course.log()


class _Course:
    """Counts and rates over time, to MLflow every few seconds, less often in a long scan."""

    def __init__(self, tracker: Tracker, progress: Progress) -> None:
        self._tracker, self._progress = tracker, progress
        self._sums: Counter[str] = Counter()
        self._start = self._logged = time.monotonic()

    def add(self, ledger: dict[str, Any]) -> None:
        for name in ("flagged", "seconds", "image_bytes", "output_bytes"):
            self._sums[name] += ledger[name]
        now = time.monotonic()
        if now - self._logged >= max(METRIC_SECONDS, METRIC_SHARE * (now - self._start)):
            self.log()

    def log(self) -> None:
        self._logged = time.monotonic()
        values = {
            "images.done": self._progress.done,
            "images.per_second": self._progress.rate,
            "images.flagged": self._sums["flagged"],
            "seconds.images": self._sums["seconds"],
            "bytes.read": self._sums["image_bytes"],
            "bytes.written": self._sums["output_bytes"],
            **{f"status.{name}": count for name, count in self._progress.counts.items()},
        }
        self._tracker.metrics(values, step=self._progress.done)


def _finish(run: Run, tracker: Tracker, lease: Lease, calibration: Calibration | None) -> int:
    """Audit, record, page; the exit code says whether every row is answered."""
    result = audit(run)
    flags = count_flags(run, calibration) if calibration and not result.problem_count else None
    lease.check()
    counts = {**result.counts(), **({"flags": flags.plain()} if flags else {})}
    run.note("complete" if result.complete else "incomplete", counts)
    tracker.metrics({"audit.rows": result.rows, "audit.found": result.found})
    tracker.metrics({f"total.{name}": count for name, count in result.statuses.items()})
    tracker.text(storage.read(storage.join(run.uri, "run.json")).decode(), "run.json")
    if calibration and flags:
        tracker.metrics(dict(_flag_metrics(calibration, flags)))
        tracker.text(calibration.model_dump_json(indent=1), "calibration.json")
    review = None
    if result.statuses and not result.damaged:
        review = build_review(run)
        lease.check()
        write_review(run, review)
    lines = list(_conclusion(run, result.rows, result.found, result.statuses, flags))
    show(tracker, run, review, lines)
    print("\n".join(lines))
    for problem in result.problems:
        print(f"  {problem}")
    if result.problem_count > len(result.problems):
        print(f"  … and {result.problem_count - len(result.problems)} more")
    return OK if result.complete else INCOMPLETE


def _flag_metrics(calibration: Calibration, flags: Flags) -> Iterator[tuple[str, float]]:
    """Numbers by name: ``flags.flagged``, ``flags.expected`` …, ``flags.prnu.threshold`` …"""
    found = {"flags": flags.images} | {f"flags.{n}": a for n, a in flags.detectors.items()}
    for prefix, alarms in found.items():
        for name, value in asdict(alarms).items():
            yield as_name(f"{prefix}.{name}"), value
    for name in flags.detectors:
        yield as_name(f"flags.{name}.threshold"), calibration.detectors[name].threshold


def _conclusion(
    run: Run, rows: int, found: int, statuses: Counter[str], flags: Flags | None
) -> Iterator[str]:
    counts = ", ".join(f"{name} {count}" for name, count in sorted(statuses.items()))
    yield f"rows in {rows}, rows out {found} ({counts or 'none'}) -> {run.uri}"
    if flags:
        yield flags.sentence()
    if statuses:
        yield f"page: {storage.join(run.uri, 'page.html')}"
    if found != rows:
        yield "INCOMPLETE: run the same command again; damaged shard files must be deleted first:"


if __name__ == "__main__":
    run_job(scan, ScanJob, __doc__)
