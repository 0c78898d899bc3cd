"""Records of the study of the origin to Table 1, Table 2 and the points of Fig. 5."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from math import isnan
from typing import Any

import numpy as np
import pyarrow as pa

from forensics.evaluate.classes import balanced, confusion_matrix, recalls
from forensics.evaluate.study import statistics
from forensics.evaluate.study.origin import Apart, Cell
from forensics.evaluate.study.outcomes import shown
from forensics.evaluate.study.statistics import Floats
from forensics.origin.filters import CHANNELS, channel_variances
from forensics.records import Status

NAMES = {
    "ada": "CNN (ada)",
    "vgg": "CNN (vgg)",
    "histogram": "difference histograms",
    "saturation": "saturation",
    "cooccurrence": "colour co-occurrence",
}
ORIGINAL = "original"

TABLE = pa.schema(
    [
        ("method", pa.string()),
        ("levelled", pa.bool_()),
        ("operation", pa.string()),
        ("images", pa.int64()),
        ("patch_accuracy", pa.float64()),
        ("accuracy", pa.float64()),
        ("low", pa.float64()),  # 95 % interval of the accuracy
        ("high", pa.float64()),
        ("balanced_accuracy", pa.float64()),  # mean of the classes' recalls
        ("balanced_low", pa.float64()),  # and its interval
        ("balanced_high", pa.float64()),
        ("patch_balanced_accuracy", pa.float64()),
    ]
)


def summarise(
    cells: Sequence[Mapping[str, Any]], classes: Sequence[str], apart: Apart, seed: int = 0
) -> dict[str, Any]:
    """Summary, ready for JSON.

    Args:
        cells: results of `origin.evaluate_cell`.
        classes: labels in order.
        apart: what no two folds share; it is what the intervals draw anew, within each class.
        seed: of the intervals.

    Returns:
        ``rows``: per method, levelled or not, and operation ``images``, ``patch_accuracy``,
        ``accuracy`` of images (most votes) with its 95 % ``interval``, the same with all classes
        alike (``balanced_accuracy``, ``balanced_interval``; ``patch_balanced_accuracy``),
        ``recall`` of each class and ``confusion`` (rows: true classes). ``filters``: per network
        and channel the variance of the first layer's weights, mean over the folds. ``courses``:
        the epochs of each network's training, by cell. ``seconds`` of learning per
        method, sum over its cells; ``status`` and ``reasons`` count records.
    """
    groups: dict[tuple[str, bool, str], list[Mapping[str, Any]]] = defaultdict(list)
    status: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    seconds: Counter[str] = Counter()
    for cell in cells:
        for record in cell["records"]:
            groups[record["method"], record["levelled"], record["operation"]].append(record)
            status[record["status"]] += 1
            if record["reason"]:
                reasons[record["reason"]] += 1
        if cell["records"] and cell["seconds"] is not None:
            seconds[cell["records"][0]["method"]] += cell["seconds"]
    rows = [
        {
            "method": method,
            "levelled": levelled,
            "operation": operation,
            **_numbers(records, classes, apart, seed),
        }
        for (method, levelled, operation), records in groups.items()
    ]
    return {
        "classes": list(classes),
        "rows": rows,
        "filters": _filters(cells),
        "courses": {cell_name(c["records"][0]): c["history"] for c in cells if c["history"]},
        "seconds": dict(seconds),
        "status": dict(sorted(status.items())),
        "reasons": dict(reasons.most_common()),
    }


def table(summary: Mapping[str, Any]) -> pa.Table:
    """The rows of the summary (schema ``TABLE``)."""
    rows = []
    for row in summary["rows"]:
        low, high = row["interval"] or (None, None)
        bounds = row["balanced_interval"] or (None, None)
        alike = dict(zip(("balanced_low", "balanced_high"), bounds, strict=True))
        rows.append({**row, "low": low, "high": high, **alike})
    return pa.Table.from_pylist(rows, schema=TABLE)


def lines(summary: Mapping[str, Any]) -> Iterator[str]:
    """The summary for people: Table 1, then what operations do, then Table 2."""
    yield (
        f"{'accuracy':<23} {'images':>15} {'n':>5}  patches  images  95 %            "
        "classes alike  95 %"
    )
    for row in summary["rows"]:
        low, high = row["interval"] or (None, None)
        least, most = row["balanced_interval"] or (None, None)
        what = "levelled" if row["levelled"] else "as found"
        if row["operation"] != ORIGINAL:
            what = row["operation"]
        yield (
            f"{NAMES[row['method']]:<23} {what:>15} {row['images']:5d}  "
            f"{shown(row['patch_accuracy'])}    {shown(row['accuracy'])}   "
            f"{shown(low)} to {shown(high)}  {shown(row['balanced_accuracy'])}          "
            f"{shown(least)} to {shown(most)}"
        )
    for name, variances in summary["filters"].items():
        parts = ", ".join(f"{c} {v:.5f}" for c, v in zip(CHANNELS, variances, strict=True))
        yield f"variance of the first layer's weights, {name}: {parts}"


def _numbers(
    records: Sequence[Mapping[str, Any]], classes: Sequence[str], apart: Apart, seed: int
) -> dict[str, Any]:
    judged = [r for r in records if r["status"] == Status.OK]
    truth, said = ([classes.index(r[key]) for r in judged] for key in ("label", "said"))
    confusion = confusion_matrix(truth, said, len(classes))
    patches: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for record in judged:
        patches[record["label"]].append((record["patches_right"], record["patches"]))
    totals = {label: np.sum(counts, 0) for label, counts in patches.items()}
    hits, n = np.sum(list(totals.values()), 0) if totals else (0, 0)
    recall = {
        label: part
        for label, part in zip(classes, recalls(confusion).tolist(), strict=True)
        if not isnan(part)
    }
    return {
        "images": len(judged),
        "patch_accuracy": float(hits / n) if n else None,
        "accuracy": float(np.trace(confusion) / len(judged)) if judged else None,
        **_intervals(judged, apart, seed),
        "balanced_accuracy": balanced(confusion) if recall else None,
        "patch_balanced_accuracy": (
            float(np.mean([hits / n for hits, n in totals.values()])) if totals else None
        ),
        "recall": recall,
        "confusion": confusion.tolist(),
    }


def _intervals(
    judged: Sequence[Mapping[str, Any]], apart: Apart, seed: int
) -> dict[str, tuple[float, float] | None]:
    """Of both accuracies of images.

    Images of a source are told alike, so where sources are apart it is sources that are drawn.
    """
    unit = "source" if apart == "sources" else "image_id"
    labels = sorted({r["label"] for r in judged})
    counts: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
    for record in judged:
        count = counts[record["label"], record[unit]]
        count[0] += record["said"] == record["label"]
        count[1] += 1
    strata = np.array([labels.index(label) for label, _ in counts], np.int64)
    rows = np.zeros((len(counts), 2, len(labels)))  # right and all, of each class
    rows[np.arange(len(counts)), :, strata] = list(counts.values()) or np.empty((0, 2))

    def accuracy(sums: Floats) -> Floats:
        right, all_ = sums.reshape(-1, 2, len(labels)).sum(2).T
        share: Floats = right / all_
        return share

    def balanced(sums: Floats) -> Floats:
        right, all_ = sums.reshape(-1, 2, len(labels)).swapaxes(0, 1)
        alike: Floats = (right / all_).mean(1)
        return alike

    flat = rows.reshape(len(counts), 2 * len(labels))
    return {
        "interval": statistics.grouped_interval(flat, strata, accuracy, seed),
        "balanced_interval": statistics.grouped_interval(flat, strata, balanced, seed),
    }


def cell_name(record: Mapping[str, Any]) -> str:
    """Of the cell that a record is of, as `origin.Cell.name`."""
    return Cell(record["method"], record["levelled"], record["fold"]).name


def _filters(cells: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
    found: dict[str, list[Any]] = defaultdict(list)
    for cell in cells:
        if cell["filters"] is not None and cell["records"]:
            first = cell["records"][0]
            name = f"{first['method']}, {'levelled' if first['levelled'] else 'as found'}"
            found[name].append(channel_variances(np.array(cell["filters"], np.float32)))
    return {name: np.mean(values, 0).tolist() for name, values in found.items()}
