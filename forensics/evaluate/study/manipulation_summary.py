"""Records of a study of manipulations to its numbers: accuracies, and differences of methods."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from forensics.evaluate.study import statistics
from forensics.records import Status

NAMES: Mapping[str, str] = {
    "bayar": "Bayar 2016",
    "svm": "SRM+SVM",
    "start": "CNN untrained",
    "residual": "residual CNN",
}

_CELL = ("task", "patches_per_photo", "method")
TABLE = pa.schema(
    [
        ("task", pa.string()),
        ("patches_per_photo", pa.int64()),
        ("method", pa.string()),
        ("n", pa.int64()),  # seeds
        ("accuracy", pa.float64()),  # mean over seeds
        ("sd", pa.float64()),  # over seeds, n - 1
        ("auc", pa.float64()),  # within a device, mean over devices and seeds
        ("training_patches", pa.float64()),
        ("test_patches", pa.float64()),
        ("seconds", pa.float64()),  # of training, mean
    ]
)


def summarise(records: pa.Table) -> dict[str, Any]:
    """Summary of all records (schema ``manipulation.RECORDS``), ready for JSON.

    - ``cells``: accuracy per task, size of the training set and method: mean, standard deviation
      and number ``n`` of the seeds; the AUC within a device; the rows of `TABLE`.
    - ``pairs``: for two methods, per task and size, the difference of accuracies on the same
      devices and patches, over the seeds that both have; ``task`` None: over all tasks.
    - ``status``: cells per status; ``reasons`` of those that are not there.
    """
    ok = records.filter(pc.equal(records["status"], str(Status.OK)))
    cells = []
    for key, rows in statistics.groups(ok, _CELL).items():
        own = ok.take(pa.array(rows))
        found = statistics.spread(own["accuracy"].to_pylist())
        cells.append(
            {
                **dict(zip(_CELL, key, strict=True)),
                "n": found["n"],
                "accuracy": found["mean"],
                "sd": found["sd"],
                **{
                    name: pc.mean(own[name]).as_py()
                    for name in ("auc", "training_patches", "test_patches", "seconds")
                },
            }
        )
    reasons = Counter(records["reason"].drop_null().to_pylist())
    return {
        "cells": cells,
        "pairs": _pairs(ok),
        "status": dict(sorted(Counter(records["status"].to_pylist()).items())),
        "reasons": dict(reasons.most_common()),
    }


def table(summary: Mapping[str, Any]) -> pa.Table:
    """The ``cells`` (schema `TABLE`)."""
    return pa.Table.from_pylist(summary["cells"], schema=TABLE)


def lines(summary: Mapping[str, Any]) -> Iterator[str]:
    """The summary for people: table II of the paper, in per cent."""
    cells = {tuple(cell[name] for name in _CELL): cell for cell in summary["cells"]}
    tasks = list(dict.fromkeys(task for task, _, _ in cells))
    columns = list(dict.fromkeys((size, method) for _, size, method in cells))
    titles = [f"{NAMES[method]}, {size}" for size, method in columns]
    width = max([8, *map(len, tasks)])
    wide = max([14, *(len(title) + 2 for title in titles)])
    for measure, shown in (("accuracy", _accuracy), ("AUC", _auc)):
        yield f"{measure:<{width}}" + "".join(f"{title:>{wide}}" for title in titles)
        for task in tasks:
            row = [shown(cells[key]) if (key := (task, *c)) in cells else "-----" for c in columns]
            yield f"{task:<{width}}" + "".join(f"{text:>{wide}}" for text in row)
    yield (
        "(accuracy in per cent, mean and deviation over the seeds; AUC within a device; after a "
        "method: patches per photo)"
    )
    for pair in summary["pairs"]:
        if pair["task"] is None:
            yield (
                f"{NAMES[pair['a']]} over {NAMES[pair['b']]}, {pair['patches_per_photo']} per "
                f"photo: {100 * pair['difference']:+.2f} points on average, better in "
                f"{pair['better']} of {pair['n']}"
            )


def _pairs(ok: pa.Table) -> list[dict[str, Any]]:
    """Differences of the methods, the better known one second."""
    names = ("task", "patches_per_photo", "seed", "method", "accuracy")
    found = {
        tuple(row[n] for n in names[:4]): row["accuracy"] for row in ok.select(names).to_pylist()
    }
    methods = list(dict.fromkeys(method for *_, method in found))
    sizes = list(dict.fromkeys(size for _, size, _, _ in found))
    tasks = [*dict.fromkeys(task for task, *_ in found), None]
    pairs = []
    for size in sizes:
        for b, a in combinations(methods, 2):
            for task in tasks:
                differences = [
                    accuracy - found[key]
                    for (t, s, seed, method), accuracy in found.items()
                    if method == a and s == size and task in (t, None)
                    for key in [(t, s, seed, b)]
                    if key in found
                ]
                spread = statistics.spread(differences)
                if differences:
                    pairs.append(
                        {
                            "task": task,
                            "patches_per_photo": size,
                            "a": a,
                            "b": b,
                            "n": spread["n"],
                            "difference": spread["mean"],
                            "sd": spread["sd"],
                            "better": sum(difference > 0 for difference in differences),
                        }
                    )
    return pairs


def _auc(cell: Mapping[str, Any]) -> str:
    return f"{cell['auc']:.3f}"


def _accuracy(cell: Mapping[str, Any]) -> str:
    spread = "" if cell["sd"] is None else f" ±{100 * cell['sd']:4.2f}"
    return f"{100 * cell['accuracy']:.2f}{spread}"
