"""The study of the origin on Ray: one task per cell, and none done twice."""

from __future__ import annotations

import json
import tempfile
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import ray
from numpy.typing import NDArray

from forensics import manifest, storage
from forensics.config import digest
from forensics.evaluate.study.origin import (
    RECORDS,
    Cell,
    OriginStudy,
    abstain,
    evaluate_cell,
)
from forensics.evaluate.study.origin_plots import (
    confusion_figure,
    filters_figure,
    robustness_figure,
)
from forensics.evaluate.study.origin_summary import NAMES, ORIGINAL, lines, summarise, table
from forensics.records import ManifestRow, Status, UserError
from forensics.train.origin.folds import deal
from jobs.cluster import Pool, connected
from jobs.entry import INCOMPLETE, OK
from jobs.origin_training.images import (
    ImageSettings,
    Prepared,
    classes_of,
    prepare_images,
    source_of,
)
from jobs.progress import Progress
from jobs.tracking import Tracker, tracked
from jobs.training.journal import Journal

if TYPE_CHECKING:
    from jobs.evaluate import EvaluateJob

_RETRIES = 1  # of a cell whose worker died
_REASONS = 10  # printed


def evaluate_origin(job: EvaluateJob, study: OriginStudy) -> int:
    """Make every cell; returns the exit code."""
    if job.truth is None or job.output is None:
        raise UserError("a study needs truth (URI of a manifest) and output (URI of a folder)")
    rows = sorted(manifest.read(job.truth), key=lambda row: row.image_id)
    classes = classes_of(rows, study.natural)
    if study.natural not in classes:
        raise UserError(
            f"no image is labelled {study.natural!r}, as origin.natural says photographs are; "
            f"there are {', '.join(classes)}"
        )
    journal = Journal.open(job.output, _digest(study, rows))
    with (
        tracked("evaluate", job, job.tracking, job.output, journal.key) as tracker,
        connected(job.pool) as pool,
    ):
        tracker.tags({"forensics.study": "origin"})
        sets = {levelled: _prepared(study, rows, classes, levelled) for levelled in study.levelled}
        folds = _folds(study, sets)
        cells = list(study.cells())
        results = _results(study, cells, classes, sets, folds, journal, pool)
        summary = {
            "study": "origin",
            "settings": study.model_dump(mode="json"),
            "truth": {"uri": job.truth, "rows": len(rows)},
            "images": Counter(str(row.label) for row in next(iter(sets.values())).rows),
            "folds": dict(sorted(folds.items())),
            "harder": len(sets[True].harder) if True in sets else None,
            **summarise(results, classes, study.seed),
        }
        _keep(job.output, results, summary, tracker)
    for line in lines(summary):
        print(line)
    for reason, count in islice(summary["reasons"].items(), _REASONS):
        print(f"  {count} x {reason}")
    print(f"-> {job.output}")
    journal.close()
    good = {str(Status.OK), str(Status.NOT_APPLICABLE)}
    whole = not set(summary["status"]) - good and all(row["images"] for row in summary["rows"])
    whole = whole and bool(summary["rows"])
    return OK if whole else INCOMPLETE


def _digest(study: OriginStudy, rows: Sequence[ManifestRow]) -> str:
    """Of all that a cell follows from."""
    images = [[r.image_id, r.uri, r.sha256, r.camera_id, r.source, r.label] for r in rows]
    return digest({"study": study.model_dump(mode="json"), "images": images})


def _prepared(
    study: OriginStudy, rows: Sequence[ManifestRow], classes: tuple[str, ...], levelled: bool
) -> Prepared:
    settings = ImageSettings(
        classes,
        study.patches,
        study.level if levelled else None,
        study.seed,
        study.max_megapixels,
    )
    found = prepare_images(rows, settings)
    for image in found.skipped:
        print(f"{image.image_id}: not used, {image.reason}")
    if found.harder:
        print(
            f"{len(found.harder)} images were compressed harder before than levelling does: "
            "their compression may still show (setting level.jpeg_qualities)"
        )
    return found


def _folds(study: OriginStudy, sets: dict[bool, Prepared]) -> dict[str, int]:
    """The fold of each source, the same levelled or not."""
    rows = {row.image_id: row for found in sets.values() for row in found.rows}
    order = [rows[name] for name in sorted(rows)]
    sources = [source_of(row) for row in order]
    dealt = deal([str(row.label) for row in order], sources, study.folds, study.seed)
    return dict(zip(sources, dealt.tolist(), strict=True))


def _results(
    study: OriginStudy,
    cells: Sequence[Cell],
    classes: tuple[str, ...],
    sets: dict[bool, Prepared],
    folds: dict[str, int],
    journal: Journal,
    pool: Pool,
) -> list[dict[str, Any]]:
    """Those of all cells, in their order."""
    known = {cell: found for cell in cells if (found := journal.result(cell.name)) is not None}
    missing = [cell for cell in cells if cell not in known]
    with Progress(len(cells), done=len(known), unit="cells") as progress:
        for cell, result in _made(study, missing, classes, sets, folds, pool):
            known[cell] = result
            failed = any(r["status"] == Status.FAILED for r in result["records"])
            if not failed:
                journal.end(cell.name, result)
            progress.add(1, {"failed" if failed else "ok": 1})
    return [known[cell] for cell in cells]


def _made(
    study: OriginStudy,
    cells: Sequence[Cell],
    classes: tuple[str, ...],
    sets: dict[bool, Prepared],
    folds: dict[str, int],
    pool: Pool,
) -> Iterator[tuple[Cell, dict[str, Any]]]:
    """Results as they come; one cell per worker is at work at any time."""
    task = ray.remote(
        num_cpus=pool.cpus_per_worker, num_gpus=pool.gpus_per_worker, max_retries=_RETRIES
    )(_evaluate)
    device = "cuda" if pool.gpus_per_worker else "cpu"
    waiting, running = deque(cells), dict[Any, tuple[Cell, list[Any]]]()
    while waiting or running:
        while waiting and len(running) < pool.workers:
            cell = waiting.popleft()
            found = sets[cell.levelled]
            dealt: NDArray[np.int64] = np.array([folds[source_of(row)] for row in found.rows])
            training, testing = (found.of(dealt, cell.fold, tested=t) for t in (False, True))
            running[task.remote(study, cell, classes, training, testing, device)] = cell, testing
        [done], _ = ray.wait(list(running), num_returns=1)
        cell, testing = running.pop(done)
        try:
            yield cell, ray.get(done)
        except ray.exceptions.RayError as error:
            yield cell, abstain(study, cell, classes, ray.get(testing), error)


def _evaluate(
    study: OriginStudy,
    cell: Cell,
    classes: tuple[str, ...],
    training: list[Any],
    testing: list[Any],
    device: str,
) -> dict[str, Any]:
    tested = ray.get(testing)
    try:
        return evaluate_cell(study, cell, classes, ray.get(training), tested, device)
    except Exception as error:
        return abstain(study, cell, classes, tested, error)


def _keep(
    output: str, results: Sequence[dict[str, Any]], summary: dict[str, Any], tracker: Tracker
) -> None:
    records = pa.Table.from_pylist([r for c in results for r in c["records"]], schema=RECORDS)
    text = json.dumps(summary, indent=1, ensure_ascii=False, allow_nan=False)
    with tempfile.TemporaryDirectory() as folder:
        for name, content in (("study", records), ("table", table(summary))):
            path = str(Path(folder) / f"{name}.parquet")
            pq.write_table(content, path)
            storage.write_file(storage.join(output, f"{name}.parquet"), path)
    storage.write(storage.join(output, "summary.json"), text.encode())
    tracker.text(text, "summary.json")
    tracker.table(table(summary).to_pydict(), "table.json")
    for row in summary["rows"]:
        _track(row, summary["classes"], tracker)
    if (figure := robustness_figure(summary)) is not None:
        tracker.figure(figure, "robustness.png")
    for result in results:
        if result["filters"] is not None and result["records"]:
            name = _name(result["records"][0])
            weights = np.array(result["filters"], np.float32)
            tracker.figure(filters_figure(weights, name), f"filters/{name}.png")


def _track(row: dict[str, Any], classes: Sequence[str], tracker: Tracker) -> None:
    how = "levelled" if row["levelled"] else "as-found"
    key = f"{row['method']}.{how}.{row['operation']}"
    measures = ("patch_accuracy", "accuracy", "balanced_accuracy")
    tracker.metrics({f"{m}.{key}": row[m] for m in measures if row[m] is not None})
    if row["operation"] == ORIGINAL and row["images"]:
        title = f"{NAMES[row['method']]}, {how}: {row['accuracy']:.1%} of {row['images']} images"
        figure = confusion_figure(row["confusion"], classes, title)
        tracker.figure(figure, f"confusion/{row['method']}-{how}.png")


def _name(record: dict[str, Any]) -> str:
    how = "levelled" if record["levelled"] else "as-found"
    return f"{record['method']}-{how}-fold{record['fold']}"
