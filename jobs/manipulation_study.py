"""The study of manipulations on Ray: one task per cell of the table, and none done twice."""

from __future__ import annotations

import json
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import ray

from forensics import manifest, storage
from forensics.config import digest
from forensics.evaluate.study.manipulation import (
    RECORDS,
    Cell,
    ManipulationStudy,
    abstain,
    evaluate_cell,
)
from forensics.evaluate.study.manipulation_plots import accuracy_figure
from forensics.evaluate.study.manipulation_summary import lines, summarise, table
from forensics.records import ManifestRow, Status, UserError
from forensics.train.manipulation.patches import split_devices
from jobs.cluster import Pool, connected
from jobs.entry import INCOMPLETE, OK
from jobs.manipulation_training.patches import CutPhotos, PatchSettings, cut_photos
from jobs.progress import Progress
from jobs.tracking import Tracker, tracked
from jobs.training.journal import Journal

if TYPE_CHECKING:
    from jobs.evaluate import EvaluateJob

_RETRIES = 1  # of a cell whose worker died
_REASONS = 10  # printed

Evaluate = Callable[..., dict[str, Any]]


def evaluate_manipulation(job: EvaluateJob, study: ManipulationStudy) -> int:
    """Make every cell of the table; returns the exit code."""
    if job.truth is None or job.output is None:
        raise UserError("a study needs truth (URI of a manifest) and output (URI of a folder)")
    rows = sorted(manifest.read(job.truth), key=lambda row: row.image_id)
    if not rows:
        raise UserError(f"{job.truth} names no image")
    journal = Journal.open(job.output, _digest(study, rows))
    with (
        tracked("evaluate", job, job.tracking, job.output, journal.key) as tracker,
        connected(job.pool) as pool,
    ):
        tracker.tags({"forensics.study": "manipulation"})
        photos = _cut(study, rows)
        records = pa.Table.from_pylist(_records(study, photos, journal, pool), schema=RECORDS)
        summary = {
            "study": "manipulation",
            "settings": study.model_dump(mode="json"),
            "truth": {"uri": job.truth, "rows": len(rows), "photos": len(photos.photos)},
            "devices": list(photos.devices),
            **summarise(records),
        }
        _keep(job.output, records, summary, tracker)
    for line in lines(summary):
        print(line)
    for reason, count in islice(summary["reasons"].items(), _REASONS):
        print(f"  {count} x {reason}")
    print(f"-> {job.output}")
    if Status.FAILED not in summary["status"]:  # else the same command tries those again
        journal.close()
    return OK if set(summary["status"]) == {Status.OK} else INCOMPLETE


def _digest(study: ManipulationStudy, rows: Sequence[ManifestRow]) -> str:
    """Of all that a cell follows from."""
    images = [[r.image_id, r.uri, r.sha256, r.camera_id, r.source, r.label] for r in rows]
    return digest({"study": study.model_dump(mode="json"), "images": images})


def _cut(study: ManipulationStudy, rows: Sequence[ManifestRow]) -> CutPhotos:
    most = max(*study.patches_per_photo, study.test_patches_per_photo)
    settings = PatchSettings(study.manipulations, study.window, most, 0, study.max_megapixels)
    photos = cut_photos(rows, settings)
    for image in photos.skipped:
        print(f"{image.image_id}: not used, {image.reason}")
    return photos


def _records(
    study: ManipulationStudy, photos: CutPhotos, journal: Journal, pool: Pool
) -> list[dict[str, Any]]:
    """Those of all cells, in their order."""
    cells = list(study.cells())
    known = {cell: found for cell in cells if (found := journal.result(cell.name)) is not None}
    with Progress(len(cells), done=len(known), unit="cells") as progress:
        for cell, record in _made(study, photos, [c for c in cells if c not in known], pool):
            known[cell] = record
            if record["status"] != Status.FAILED:
                journal.end(cell.name, record)
            progress.add(1, {record["status"]: 1})
    return [known[cell] for cell in cells]


def _made(
    study: ManipulationStudy, photos: CutPhotos, cells: Sequence[Cell], pool: Pool
) -> Iterator[tuple[Cell, dict[str, Any]]]:
    """Records as they come; one cell per worker is at work at any time."""
    task = ray.remote(
        num_cpus=pool.cpus_per_worker, num_gpus=pool.gpus_per_worker, max_retries=_RETRIES
    )(_evaluate)
    device = "cuda" if pool.gpus_per_worker else "cpu"
    waiting, running = deque(cells), dict[Any, Cell]()
    while waiting or running:
        while waiting and len(running) < pool.workers:
            cell = waiting.popleft()
            tested = split_devices(photos.devices, study.held_out, cell.seed)
            parts = photos.of(set(photos.devices) - tested), photos.of(tested)
            running[task.remote(study, cell, *parts, device)] = cell
        [done], _ = ray.wait(list(running), num_returns=1)
        cell = running.pop(done)
        try:
            yield cell, ray.get(done)
        except ray.exceptions.RayError as error:
            yield cell, abstain(cell, error)


def _evaluate(
    study: ManipulationStudy, cell: Cell, training: list[Any], testing: list[Any], device: str
) -> dict[str, Any]:
    try:
        return evaluate_cell(study, cell, ray.get(training), ray.get(testing), device)
    except Exception as error:
        return abstain(cell, error)


def _keep(output: str, records: pa.Table, summary: dict[str, Any], tracker: Tracker) -> None:
    text = json.dumps(summary, indent=1, ensure_ascii=False, allow_nan=False)
    with tempfile.TemporaryDirectory() as folder:
        for name, content in (("study", records), ("table", table(summary))):
            path = str(Path(folder) / f"{name}.parquet")
            pq.write_table(content, path)
            storage.write_file(storage.join(output, f"{name}.parquet"), path)
    storage.write(storage.join(output, "summary.json"), text.encode())
    tracker.text(text, "summary.json")
    tracker.metrics(
        {
            f"accuracy.{cell['task']}.{cell['method']}.{cell['patches_per_photo']}": cell[
                "accuracy"
            ]
            for cell in summary["cells"]
        }
    )
    tracker.table(table(summary).to_pydict(), "table.json")
    tracker.figure(accuracy_figure(summary), "accuracy.png")
