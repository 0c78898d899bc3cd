"""Look before a scan: is everything there, and what will it take?

    python -m jobs.doctor --config configs/scan.yaml --manifest case/archive.parquet
    python -m jobs.doctor --config configs/scan.yaml --manifest case/archive.parquet --sample 200
    ray job submit --working-dir . -- python -m jobs.doctor --config configs/scan.yaml

Takes the settings of ``jobs.scan``. Checks manifest, output, weights, camera models, MLflow, GPU
and memory, then examines some images, drawn at random, on the pool that would scan them all, and
writes a bill: hours, GPU-hours, bytes, memory, flags, each with its 95 % interval. Exit code 0: the
scan can start; 1: something is in its way, and a line marked BAD says what; 2: bad settings.

What it examines is not kept. Weights that are named ``models:/`` are: they stay in ``weights/`` of
the output, where the scan looks for them; so is an empty ``mlflow.db`` where MLflow has no other
store yet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

import ray
import torch
from pydantic import Field

from forensics import storage
from forensics.calibration.record import Calibration, load_calibration
from forensics.detectors import Detector, columns
from forensics.forecast import Amount, Forecast, Sample, forecast
from forensics.limits import GIB
from forensics.manifest import Drawn, Freezer, Frozen, draw
from forensics.records import UserError
from forensics.scan import ScanSettings, build_detectors, identities
from forensics.schema import report_schema
from jobs import checks
from jobs.checks import Check, State
from jobs.cluster import Pool, connected
from jobs.entry import INCOMPLETE, OK, run_job
from jobs.probe import probe
from jobs.scan import ScanJob, run_inputs, scan_settings
from jobs.tracking import store_uri
from jobs.weights import resolved

T = TypeVar("T")


class DoctorJob(ScanJob):
    """A scan that is looked at before it starts."""

    sample: int = Field(64, ge=2, description="images to examine for the bill")
    seed: int = Field(0, ge=0, description="seed for drawing them")


def doctor(job: DoctorJob) -> int:
    """Check, forecast, say; returns the exit code."""
    said = _Said()
    found = said.given("manifest", lambda: _manifest(job))
    said.look("output", lambda: checks.output(job.output))
    store = store_uri(job.tracking, job.output)
    said.look("tracking", lambda: checks.tracking(store))
    if job.camera_models is not None:
        said.look("cameras", lambda: checks.cameras(str(job.camera_models)))
    usable = said.given("weights", lambda: _weights(scan_settings(job), store, job.output))
    detectors = said.given("detectors", lambda: _detectors(usable)) if usable else None
    calibration = said.given("flags", lambda: _calibration(job)) if job.calibration else None
    needed = None
    if found and detectors:
        drawn, frozen = found
        rows = (*drawn.largest, *drawn.sample)
        complete = drawn.size is not None
        needed = said.given("images", lambda: checks.largest(rows, detectors, job.limits, complete))
        if calibration or not job.calibration:
            said.look("run", lambda: _run(job, frozen, detectors, calibration))
    if found and usable and needed is not None and not said.bad:
        said.given("pool", lambda: _examine(job, usable, found[0], needed, calibration, said))
    print("not ready: see the lines marked BAD" if said.bad else "ready: jobs.scan can start")
    return INCOMPLETE if said.bad else OK


class _Said:
    """Checks, printed as they end."""

    def __init__(self) -> None:
        self.bad = False

    def look(self, name: str, look: Callable[[], checks.Found]) -> None:
        """A check; bad input and storage errors are what it finds."""
        self.given(name, lambda: (None, look()))

    def given(self, name: str, look: Callable[[], tuple[T, checks.Found]]) -> T | None:
        """The same of one that yields something, which is None where it could not be had."""
        try:
            value, found = look()
        except UserError as error:
            value, found = None, (State.BAD, str(error))
        check = Check(name, *found)
        self.bad |= check.state is State.BAD
        print(check, flush=True)
        return value


def _manifest(job: DoctorJob) -> tuple[tuple[Drawn, Frozen], checks.Found]:
    with Freezer(job.manifest, job.shard_rows, job.limit) as freezer:  # checks every row
        frozen = freezer.frozen
    drawn = draw(job.manifest, job.sample, job.seed, job.limit)
    if not drawn.rows:
        raise UserError(f"{job.manifest} lists no image")
    size = "sizes unknown" if drawn.size is None else f"{drawn.size / 1e9:.3g} GB"
    text = f"{drawn.rows:,} images, {size}, every image_id once"
    if frozen.ignored:
        text += f"; columns ignored: {', '.join(frozen.ignored)}"
    return (drawn, frozen), (State.WARNING if frozen.ignored else State.OK, text)


def _weights(settings: ScanSettings, store: str, output: str) -> tuple[ScanSettings, checks.Found]:
    usable = resolved(settings, store, storage.join(output, "weights"))
    return usable, (State.OK, "there, or not needed")


def _detectors(settings: ScanSettings) -> tuple[list[Detector], checks.Found]:
    detectors = build_detectors(settings, torch.device("cpu"))
    names = ", ".join(detector.name for detector in detectors)
    return detectors, (State.OK, f"loaded: {names}")


def _calibration(job: DoctorJob) -> tuple[Calibration, checks.Found]:
    calibration = load_calibration(str(job.calibration))
    names = ", ".join(calibration.detectors)
    return calibration, (State.OK, f"a calibration for {names}")


def _run(
    job: DoctorJob, frozen: Frozen, detectors: Sequence[Detector], calibration: Calibration | None
) -> checks.Found:
    """A run in the output, and the calibration, are of the same inputs as this scan."""
    return checks.run(job.output, run_inputs(job, frozen, identities(detectors), calibration))


def _examine(
    job: DoctorJob,
    settings: ScanSettings,
    drawn: Drawn,
    needed: float,
    calibration: Calibration | None,
    said: _Said,
) -> tuple[None, checks.Found]:
    """The bill, by the pool that would scan. ``needed``: bytes of the largest image."""
    report = report_schema(columns(job.detectors), calibrated=calibration is not None)
    with connected(job.pool) as pool:
        have = ray.cluster_resources()
        said.look("device", lambda: checks.device(job.device, have.get("GPU", 0), job.detectors))
        text, prefetch = settings.model_dump_json(), job.pool.prefetch
        sample = probe(drawn.sample, text, job.limits, report, pool, prefetch)
        most = max(sample.peak_bytes, sample.idle_bytes + needed)
        said.look("memory", lambda: checks.memory(most, pool.workers, list(_nodes(pool))))
    if calibration is not None:
        marked = [calibration.marked(record) for record in sample.records]
        sample = replace(sample, records=marked)
    flag = "decision" if calibration is None else "flagged"
    shards = -(-drawn.rows // job.shard_rows)
    bill = forecast(
        sample,
        drawn.rows,
        shards,
        pool.workers,
        flag,
        drawn.size,
        job.seed,
    )
    for line in _lines(bill, drawn, sample, pool):
        print(line)
    return None, (State.OK, f"{pool.workers} workers, {pool.gpus_per_worker:g} GPUs each")


def _nodes(pool: Pool) -> Iterator[checks.Node]:
    """The machines of the cluster."""
    for node in ray.nodes():
        if node["Alive"]:
            have = node["Resources"]
            fit = have.get("CPU", 0) / pool.cpus_per_worker
            if pool.gpus_per_worker:
                fit = min(fit, have.get("GPU", 0) / pool.gpus_per_worker)
            room = have.get("memory", 0) + have.get("object_store_memory", 0)
            yield checks.Node(room, int(fit))


def _lines(bill: Forecast, drawn: Drawn, sample: Sample, pool: Pool) -> Iterator[str]:
    """The bill for people."""
    yield f"bill for {drawn.rows:,} images, from {len(sample.records)} drawn at random:"
    rows = {"time": f"{_span(bill.seconds, _TIMES)}, after the start of the job"}
    if gpus := pool.workers * pool.gpus_per_worker:
        used = Amount(*(gpus * part for part in bill.seconds))
        rows["GPUs"] = f"{_span(used, ((3600, 'GPU-hours'),))}"
    rows["read"] = _span(bill.read_bytes, _BYTES)
    rows["written"] = _span(Amount(*[bill.written_bytes] * 3), _BYTES)
    one, all_ = sample.peak_bytes / GIB, pool.workers * sample.peak_bytes / GIB
    rows["memory"] = f"{one:.2g} GiB per worker, {all_:.2g} GiB together"
    rows["flagged"] = _span(bill.flagged, _IMAGES)
    rows |= {name: _span(amount, _IMAGES) for name, amount in bill.statuses.items()}
    yield from (f"  {name:16}{text}" for name, text in rows.items())


_TIMES = ((3600, "h"), (60, "min"), (1, "s"))
_BYTES = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))
_IMAGES = ((1, "images"),)


def _span(amount: Amount, units: Sequence[tuple[float, str]]) -> str:
    """Value and interval in the largest unit that the value reaches."""
    unit, name = next((u for u in units if amount.value >= u[0]), units[-1])
    value, lowest, highest = (f"{_round(part / unit):,}" for part in amount)
    return f"{value} {name}" + (f" ({lowest} to {highest})" if lowest != highest else "")


def _round(value: float) -> float | int:
    """Three digits; whole numbers without a point."""
    found = float(f"{value:.3g}")
    return int(found) if found >= 100 or found == int(found) else found


if __name__ == "__main__":
    run_job(doctor, DoctorJob, __doc__)
