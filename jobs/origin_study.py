"""The study of the origin on Ray: one task per cell, and none done twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import ray
from numpy.typing import NDArray

from forensics import manifest, storage
from forensics.evaluate.plots import confusion_figure
from forensics.evaluate.study.origin import (
    RECORDS,
    Cell,
    OriginStudy,
    abstain,
    evaluate_cell,
)
from forensics.evaluate.study.origin_plots import filters_figure, robustness_figure
from forensics.evaluate.study.origin_summary import NAMES, ORIGINAL, lines, summarise, table
from forensics.records import ManifestRow, Status, UserError
from forensics.train.origin.folds import deal
from jobs.cells import References, Work, digest_of, results
from jobs.cluster import Pool, connected
from jobs.entry import INCOMPLETE, OK
from jobs.origin_training.images import (
    ImageSettings,
    Prepared,
    classes_of,
    prepare_images,
    source_of,
)
from jobs.study_output import destination, keep, put_table, say
from jobs.tracking import Tracker, tracked
from jobs.training.journal import Journal

if TYPE_CHECKING:
    from jobs.evaluate import EvaluateJob


def evaluate_origin(job: EvaluateJob, study: OriginStudy) -> int:
    """Make every cell; returns the exit code."""
    truth, output = destination(job)
    rows = sorted(manifest.read(truth), key=lambda row: row.image_id)
    classes = classes_of(rows, study.natural)
    if study.natural not in classes:
        raise UserError(
            f"no image is labelled {study.natural!r}, as origin.natural says photographs are; "
            f"there are {', '.join(classes)}"
        )
    journal = Journal.open(output, digest_of(study, rows))
    with (
        tracked("evaluate", job, job.tracking, output, journal.key) as tracker,
        connected(job.pool) as pool,
    ):
        tracker.tags({"forensics.study": "origin"})
        sets = {levelled: _prepared(study, rows, classes, levelled) for levelled in study.levelled}
        group_of = source_of if study.apart == "sources" else _id_of
        folds = _folds(study, sets, group_of)
        made = _results(study, classes, sets, lambda row: folds[group_of(row)], journal, pool)
        summary = {
            "study": "origin",
            "settings": study.model_dump(mode="json"),
            "truth": {"uri": truth, "rows": len(rows)},
            "images": Counter(str(row.label) for row in next(iter(sets.values())).rows),
            "folds": dict(sorted(folds.items())) if study.apart == "sources" else None,
            "earlier_may_show": len(sets[True].showing) if True in sets else None,
            **summarise(made, classes, study.seed),
        }
        _keep(output, made, summary, tracker)
    if study.apart == "images":
        print("note: training and test share sources; images of other sources are harder to tell")
    say(lines(summary), summary["reasons"], output)
    if Status.FAILED not in summary["status"]:  # else the same command tries those again
        journal.close()
    good = {str(Status.OK), str(Status.NOT_APPLICABLE)}
    whole = not set(summary["status"]) - good and all(row["images"] for row in summary["rows"])
    whole = whole and bool(summary["rows"])
    return OK if whole else INCOMPLETE


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
    found.say()
    return found


def _id_of(row: ManifestRow) -> str:
    return row.image_id


def _folds(
    study: OriginStudy, sets: dict[bool, Prepared], group_of: Callable[[ManifestRow], str]
) -> dict[str, int]:
    """The fold of each group of images, the same levelled or not."""
    rows = {row.image_id: row for found in sets.values() for row in found.rows}
    order = [rows[name] for name in sorted(rows)]
    groups = [group_of(row) for row in order]
    dealt = deal([str(row.label) for row in order], groups, study.folds, study.seed)
    return dict(zip(groups, dealt.tolist(), strict=True))


def _results(
    study: OriginStudy,
    classes: tuple[str, ...],
    sets: dict[bool, Prepared],
    fold_of: Callable[[ManifestRow], int],
    journal: Journal,
    pool: Pool,
) -> list[dict[str, Any]]:
    """Those of all cells, in their order."""

    def data(cell: Cell) -> tuple[References, References]:
        found = sets[cell.levelled]
        dealt: NDArray[np.int64] = np.array([fold_of(row) for row in found.rows])
        training, testing = (found.of(dealt, cell.fold, tested=t) for t in (False, True))
        return training, testing

    def abstained(cell: Cell, testing: References, error: Exception) -> dict[str, Any]:
        return abstain(study, classes, cell, ray.get(testing), error)

    work = Work(data, partial(evaluate_cell, study, classes), abstained, _status)
    return results(list(study.cells()), work, journal, pool)


def _status(result: dict[str, Any]) -> str:
    """Failed if a record did."""
    failed = any(record["status"] == Status.FAILED for record in result["records"])
    return str(Status.FAILED if failed else Status.OK)


def _keep(
    output: str, made: Sequence[dict[str, Any]], summary: dict[str, Any], tracker: Tracker
) -> None:
    records = pa.Table.from_pylist([r for c in made for r in c["records"]], schema=RECORDS)
    put_table(records, storage.join(output, "study.parquet"))
    keep(output, summary, table(summary), tracker)
    for row in summary["rows"]:
        _track(row, summary["classes"], tracker)
    if (figure := robustness_figure(summary)) is not None:
        tracker.figure(figure, "robustness.png")
    for result in made:
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
