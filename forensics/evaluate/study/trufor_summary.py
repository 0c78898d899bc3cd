"""Records of a study of TruFor to the paper's tables: F1 of pixels, AUC and accuracy of images.

A data set is the manifest's ``source``. ``average`` is the mean of the data sets, as the paper's
tables have it; ``all`` is over all images as if they were one data set.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from matplotlib.figure import Figure
from numpy.typing import NDArray

from forensics.evaluate import plots
from forensics.evaluate.curves import roc
from forensics.evaluate.metrics import auc, balanced_accuracy
from forensics.evaluate.study import statistics
from forensics.evaluate.study.outcomes import outcomes, shown
from forensics.evaluate.study.trufor import AXES
from forensics.evaluate.summary import NOT_GIVEN
from forensics.records import FORGED, Status

ALL, AVERAGE = "all", "average"
PIXELS = ("f1_best", "f1_fixed", "pixel_auc")
SCORES = {"": "score", "max_": "map_max", "mean_": "map_mean"}
"""Prefix of the measures of images -> the column that images are judged by."""
IMAGES = ("auc", "accuracy", "accuracy_best")

TABLE = pa.schema(
    [
        ("source", pa.string()),  # data set, average, or all
        ("variant", pa.string()),
        *((axis, pa.string()) for axis in AXES),
        ("masks", pa.int64()),  # images whose pixels count
        ("forged", pa.int64()),
        ("pristine", pa.int64()),
        *((name, pa.float64()) for name in PIXELS),
        ("f1_fixed_low", pa.float64()),  # 95 % interval over images
        ("f1_fixed_high", pa.float64()),
        *((f"{prefix}{name}", pa.float64()) for prefix in SCORES for name in IMAGES),
    ]
)


def summarise(records: pa.Table, seed: int = 0) -> dict[str, Any]:
    """Summary of all records (schema ``trufor.RECORDS``), ready for JSON.

    - ``variants``: in the order of the study, each with ``status``, ``reasons``, ``judged``,
      ``seconds`` (median per image) and ``sources``: the numbers of each data set, their
      ``average``, and ``all`` images together. Numbers are ``f1_best``, ``f1_fixed`` and
      ``pixel_auc`` (means over ``masks`` images), and ``auc``, ``accuracy`` (balanced, at 0.5) and
      ``accuracy_best`` (at the best threshold) by the score, and with ``max_`` and ``mean_`` by
      the largest and the mean value of the map. None where a class is absent.
    - ``pairs``: for variants that differ in one axis, the mean difference of each F1 per image,
      with its 95 % bootstrap interval.
    """
    parts = statistics.groups(records, AXES)
    called = _names(list(parts))
    judged: dict[tuple[str, str], pa.Table] = {}
    variants = []
    for variant, rows in parts.items():
        own = records.take(pa.array(rows))
        ok = judged[variant] = own.filter(pc.equal(own["status"], str(Status.OK)))
        seconds = ok["seconds"].to_numpy()
        variants.append(
            {
                "name": called[variant],
                **dict(zip(AXES, variant, strict=True)),
                **outcomes(own),
                "judged": ok.num_rows,
                "seconds": float(np.median(seconds)) if seconds.size else None,
                "sources": _sources(ok, seed),
            }
        )
    pairs = [
        {"a": called[a], "b": called[b], **_difference(judged[a], judged[b], seed)}
        for a, b in combinations(parts, 2)
        if sum(one != other for one, other in zip(a, b, strict=True)) == 1
    ]
    return {"variants": variants, "pairs": pairs}


def table(summary: Mapping[str, Any]) -> pa.Table:
    """One row per variant and data set, average and all (schema ``TABLE``)."""
    rows = []
    for variant in summary["variants"]:
        known = {"variant": variant["name"], **{axis: variant[axis] for axis in AXES}}
        for source, found in variant["sources"].items():
            low, high = found.get("f1_fixed_interval") or (None, None)
            bounds = {"f1_fixed_low": low, "f1_fixed_high": high}
            rows.append({"source": source, **known, **bounds, **found})
    return pa.Table.from_pylist(rows, schema=TABLE)


def lines(summary: Mapping[str, Any]) -> Iterator[str]:
    """The summary for people."""
    for variant in summary["variants"]:
        sources = variant["sources"]
        width = max(len(name) for name in (variant["name"], *sources))
        yield (
            f"{variant['name']:<{width}}  masks  F1 best  fixed  forged pristine    AUC   acc."
            "  (max: AUC   acc.) (mean: AUC   acc.)"
        )
        for source, found in sources.items():
            yield (
                f"{source:<{width}}  {found['masks']:5d}    {shown(found['f1_best'])}  "
                f"{shown(found['f1_fixed'])}  {found['forged']:6d} {found['pristine']:8d}  "
                f"{shown(found['auc'])}  {shown(found['accuracy'])}       {shown(found['max_auc'])}"
                f"  {shown(found['max_accuracy'])}         {shown(found['mean_auc'])}  "
                f"{shown(found['mean_accuracy'])}"
            )
    for pair in summary["pairs"]:
        if pair["n"]:
            low, high = pair["f1_fixed_interval"] or (None, None)
            yield (
                f"{pair['a']} over {pair['b']}: F1 fixed {pair['f1_fixed']:+.3f} "
                f"({shown(low)} to {shown(high)}, {pair['n']} images)"
            )


def figures(records: pa.Table, summary: Mapping[str, Any]) -> dict[str, Figure]:
    """ROC of the scores, and F1 per image, of every variant, by file name."""
    called = {tuple(v[axis] for axis in AXES): v["name"] for v in summary["variants"]}
    curves, boxes = {}, {}
    for variant, rows in statistics.groups(records, AXES).items():
        own = records.take(pa.array(rows))
        ok = own.filter(pc.equal(own["status"], str(Status.OK)))
        scores, truth = _floats(ok["score"]), _forged(ok)
        if truth.any() and not truth.all():
            curve = roc(scores, truth)
            curves[called[variant]] = curve.fpr.tolist(), curve.tpr.tolist(), auc(scores, truth)
        if len(f1 := ok["f1_fixed"].drop_null()):
            boxes[called[variant]] = f1.to_pylist()
    found = {}
    if curves:
        found["roc.png"] = plots.roc_curves(curves)
    if boxes:
        found["f1.png"] = plots.boxes(boxes, "Pixel F1 at 0.5, all data sets", "F1")
    return found


def _names(variants: list[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """A name for each variant: the axes in which they differ, or the checkpoint if in none."""
    varied = [axis for axis in (0, 1) if len({variant[axis] for variant in variants}) > 1]
    return {v: ", ".join(v[axis] for axis in varied or (0,)) for v in variants}


def _sources(ok: pa.Table, seed: int) -> dict[str, dict[str, Any]]:
    groups = statistics.groups(ok, ("source",))
    named = {NOT_GIVEN if name is None else name: rows for (name,), rows in groups.items()}
    found = {name: _numbers(ok.take(pa.array(named[name])), seed) for name in sorted(named)}
    if len(found) > 1:
        found |= {AVERAGE: _average(found), ALL: _numbers(ok, seed)}
    return found


def _numbers(ok: pa.Table, seed: int) -> dict[str, Any]:
    truth = _forged(ok)
    measured = ok.filter(pc.is_valid(ok["f1_fixed"]))
    found: dict[str, Any] = {
        "masks": measured.num_rows,
        "forged": int(truth.sum()),
        "pristine": int((~truth).sum()),
        "f1_fixed_interval": statistics.mean_interval(_floats(measured["f1_fixed"]), seed),
    }
    for name in PIXELS:
        values = _floats(measured[name])
        found[name] = float(values.mean()) if values.size else None
    for prefix, column in SCORES.items():
        measures = _image_level(_floats(ok[column]), truth)
        found |= {f"{prefix}{name}": value for name, value in measures.items()}
    return found


def _image_level(scores: NDArray[np.float64], truth: NDArray[np.bool_]) -> dict[str, float | None]:
    if truth.all() or not truth.any():
        return dict.fromkeys(IMAGES)
    curve = roc(scores, truth)
    return {
        "auc": auc(scores, truth),
        "accuracy": balanced_accuracy(scores, truth),
        "accuracy_best": float(((curve.tpr + 1 - curve.fpr) / 2).max()),
    }


def _average(sources: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Mean over the data sets that have the measure; counts are sums."""
    values: dict[str, list[float]] = defaultdict(list)
    for found in sources.values():
        for name in (*PIXELS, *(f"{prefix}{name}" for prefix in SCORES for name in IMAGES)):
            values[name] += [] if found[name] is None else [found[name]]
    counts = {n: sum(s[n] for s in sources.values()) for n in ("masks", "forged", "pristine")}
    return {**counts, **{name: float(np.mean(v)) if v else None for name, v in values.items()}}


def _difference(a: pa.Table, b: pa.Table, seed: int) -> dict[str, Any]:
    """Of the images that both counted pixels of."""
    mine, theirs = (
        {row["image_id"]: row for row in t.to_pylist() if row["f1_fixed"] is not None}
        for t in (a, b)
    )
    both = [image_id for image_id in mine if image_id in theirs]
    found: dict[str, Any] = {"n": len(both)}
    for name in ("f1_best", "f1_fixed"):
        difference = np.array([mine[i][name] - theirs[i][name] for i in both])
        found[name] = float(difference.mean()) if both else None
        found[f"{name}_interval"] = statistics.mean_interval(difference, seed)
    return found


def _forged(records: pa.Table) -> NDArray[np.bool_]:
    return np.array([label == FORGED for label in records["label"].to_pylist()], dtype=np.bool_)


def _floats(column: pa.ChunkedArray) -> NDArray[np.float64]:
    return np.asarray(column.to_numpy(), dtype=np.float64)
