"""The study of manipulations on Ray: one task per cell of the table, and none done twice."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import pyarrow as pa

from forensics import manifest, storage
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
from jobs.cameras import say_skipped
from jobs.cluster import Pool, connected
from jobs.entry import INCOMPLETE, OK, begun
from jobs.evaluation.cells import References, Work, digest_of, results
from jobs.evaluation.output import destination, keep, put_table, say
from jobs.evaluation.settings import EvaluateJob
from jobs.manipulation_training.patches import CutPhotos, PatchSettings, cut_photos
from jobs.tracking import Tracker, tracked
from jobs.training.journal import Journal


def evaluate_manipulation(job: EvaluateJob, study: ManipulationStudy) -> int:
    """Make every cell of the table; returns the exit code."""
    truth, output = destination(job)
    rows = sorted(manifest.read(truth), key=lambda row: row.image_id)
    if not rows:
        raise UserError(f"{truth} names no image")
    journal = Journal.open(output, digest_of(study, rows))
    with (
        tracked("evaluate", job, job.tracking, output, journal.key) as tracker,
        connected(job.pool) as pool,
    ):
        tracker.tags({"forensics.study": "manipulation"})
        photos = _cut(study, rows)
        records = pa.Table.from_pylist(_records(study, photos, journal, pool), schema=RECORDS)
        summary = {
            "study": "manipulation",
            "settings": study.model_dump(mode="json"),
            "truth": {"uri": truth, "rows": len(rows), "photos": len(photos.photos)},
            "devices": list(photos.devices),
            **summarise(records),
        }
        with begun():
            _keep(output, records, summary, tracker)
    say(lines(summary), summary["reasons"], output)
    if Status.FAILED not in summary["status"]:  # else the same command tries those again
        journal.close()
    return OK if set(summary["status"]) == {Status.OK} else INCOMPLETE


def _cut(study: ManipulationStudy, rows: Sequence[ManifestRow]) -> CutPhotos:
    most = max(*study.patches_per_photo, study.test_patches_per_photo)
    settings = PatchSettings(study.manipulations, study.window, most, 0, study.max_megapixels)
    photos = cut_photos(rows, settings)
    say_skipped(photos.skipped)
    return photos


def _records(
    study: ManipulationStudy, photos: CutPhotos, journal: Journal, pool: Pool
) -> list[dict[str, Any]]:
    """Those of all cells, in their order."""

    def data(cell: Cell) -> tuple[References, References]:
        tested = split_devices(photos.devices, study.held_out, cell.seed)
        return photos.of(set(photos.devices) - tested), photos.of(tested)

    def abstained(cell: Cell, _: References, error: Exception) -> dict[str, Any]:
        return abstain(cell, error)

    def status(record: dict[str, Any]) -> str:
        return str(record["status"])

    work = Work(data, partial(evaluate_cell, study), abstained, status)
    return results(list(study.cells()), work, journal, pool)


def _keep(output: str, records: pa.Table, summary: dict[str, Any], tracker: Tracker) -> None:
    put_table(records, storage.join(output, "study.parquet"))
    keep(output, summary, table(summary), tracker)
    tracker.metrics(
        {
            f"{measure}.{cell['task']}.{cell['method']}.{cell['patches_per_photo']}": cell[measure]
            for cell in summary["cells"]
            for measure in ("accuracy", "auc", "sd")
            if cell[measure] is not None  # no deviation of a single seed
        }
    )
    tracker.figure(accuracy_figure(summary), "accuracy.png")
