"""The study of the origin on Ray: one task per cell, and none done twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import ray
from numpy.typing import NDArray

from forensics import manifest, storage
from forensics.evaluate.plots import confusion_figure
from forensics.evaluate.study.origin import RECORDS, Cell, OriginStudy
from forensics.evaluate.study.origin_cell import abstain, evaluate_cell
from forensics.evaluate.study.origin_plots import filters_figure, robustness_figure
from forensics.evaluate.study.origin_summary import (
    NAMES,
    ORIGINAL,
    cell_name,
    lines,
    summarise,
    table,
)
from forensics.records import ManifestRow, Status, UserError
from forensics.train.origin.folds import deal
from jobs.cluster import connected
from jobs.entry import INCOMPLETE, OK, begun
from jobs.evaluation.cells import References, Work, digest_of, results
from jobs.evaluation.output import destination, keep, put_table, say
from jobs.evaluation.settings import EvaluateJob
from jobs.origin_training.images import (
    ImageSettings,
    Prepared,
    classes_of,
    missing_in,
    prepare_images,
    source_of,
)
from jobs.tracking import Tracker, tracked
from jobs.training.journal import Journal

_COURSE = ("loss", "accuracy", "held_out_accuracy")  # of an epoch


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
    vgg = None
    if "vgg" in study.methods and study.vgg_weights is not None:
        vgg = storage.read(study.vgg_weights)
    journal = Journal.open(output, digest_of(study, rows, {"vgg_weights": vgg} if vgg else None))
    with (
        tracked("evaluate", job, job.tracking, output, journal.key) as tracker,
        connected(job.pool) as pool,
    ):
        tracker.tags({"forensics.study": "origin"})
        sets = {levelled: _prepared(study, rows, classes, levelled) for levelled in study.levelled}
        group_of = source_of if study.apart == "sources" else _id_of
        folds = _folds(study, sets, group_of)
        missing = _missing(study, sets, classes, lambda row: folds[group_of(row)])
        work = _work(study, classes, sets, lambda row: folds[group_of(row)], vgg)
        made = results(list(study.cells()), work, journal, pool)
        summary = {
            "study": "origin",
            "settings": study.model_dump(mode="json"),
            "truth": {"uri": truth, "rows": len(rows)},
            "images": Counter(str(row.label) for row in next(iter(sets.values())).rows),
            "folds": dict(sorted(folds.items())) if study.apart == "sources" else None,
            "missing": {str(fold): names for fold, names in missing.items() if names},
            "earlier_may_show": len(sets[True].showing) if True in sets else None,
            **summarise(made, classes, study.apart, study.seed),
        }
        with begun():
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


def _missing(
    study: OriginStudy,
    sets: dict[bool, Prepared],
    classes: tuple[str, ...],
    fold_of: Callable[[ManifestRow], int],
) -> dict[int, list[str]]:
    """The classes of which each fold has no image, said where there are such."""
    rows = [row for found in sets.values() for row in found.rows]
    missing = {
        fold: missing_in([row for row in rows if fold_of(row) == fold], classes)
        for fold in range(study.folds)
    }
    for fold, names in missing.items():
        if names == list(classes):
            print(f"note: fold {fold} has no image, so there is nothing to test; set fewer folds")
        elif names:
            print(f"note: fold {fold} has no image of {', '.join(names)}")
    return missing


def _work(
    study: OriginStudy,
    classes: tuple[str, ...],
    sets: dict[bool, Prepared],
    fold_of: Callable[[ManifestRow], int],
    vgg: bytes | None,
) -> Work[Cell]:
    """How cells are made."""

    def data(cell: Cell) -> tuple[References, References]:
        found = sets[cell.levelled]
        dealt: NDArray[np.int64] = np.array([fold_of(row) for row in found.rows])
        training, testing = (found.of(dealt, cell.fold, tested=t) for t in (False, True))
        return training, testing

    def abstained(cell: Cell, testing: References, error: Exception) -> dict[str, Any]:
        return abstain(study, classes, cell, ray.get(testing), error)

    stored = None if vgg is None else ray.put(vgg)
    return Work(data, partial(_evaluated, study, classes, stored), abstained, _status)


def _evaluated(
    study: OriginStudy, classes: tuple[str, ...], vgg: Any, cell: Cell, *rest: Any
) -> dict[str, Any]:
    """A cell, on a worker; ``vgg`` is the reference of a file's content."""
    content = ray.get(vgg) if vgg is not None and cell.method == "vgg" else None
    return evaluate_cell(study, classes, cell, *rest, vgg=content, tell=print)


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
            name = cell_name(result["records"][0])
            weights = np.array(result["filters"], np.float32)
            _track_course(name, result["history"], tracker)
            tracker.figure(filters_figure(weights, name), f"filters/{name}.png")


def _track_course(name: str, history: Sequence[dict[str, Any]], tracker: Tracker) -> None:
    for epoch in history:
        measures = {k: epoch[k] for k in _COURSE if epoch[k] is not None}
        tracker.metrics({f"{k}.{name}": v for k, v in measures.items()}, epoch["number"])


def _track(row: dict[str, Any], classes: Sequence[str], tracker: Tracker) -> None:
    how = "levelled" if row["levelled"] else "as-found"
    key = f"{row['method']}.{how}.{row['operation']}"
    measures = ("patch_accuracy", "accuracy", "balanced_accuracy")
    tracker.metrics({f"{m}.{key}": row[m] for m in measures if row[m] is not None})
    if row["operation"] == ORIGINAL and row["images"]:
        title = f"{NAMES[row['method']]}, {how}: {row['accuracy']:.1%} of {row['images']} images"
        figure = confusion_figure(row["confusion"], classes, title)
        tracker.figure(figure, f"confusion/{row['method']}-{how}.png")
