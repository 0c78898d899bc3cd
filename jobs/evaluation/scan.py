"""A finished scan against the truth: records, summary, metrics and figures."""

from __future__ import annotations

import json
import tempfile
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import ray

from forensics import manifest, storage
from forensics.evaluate import plots
from forensics.evaluate.scan import RECORDS, Border, evaluate_committed
from forensics.evaluate.summary import NOT_GIVEN, PIXEL_MEASURES, pixel_rows, summarise
from forensics.records import FORGED, PRISTINE, ManifestRow, UserError
from forensics.run import Run, load_run
from jobs.cluster import Pool, connected
from jobs.entry import INCOMPLETE, OK
from jobs.evaluation.settings import EvaluateJob
from jobs.progress import Progress
from jobs.tracking import Tracker, as_name, tracked
from jobs.truth import NAMED, named, read_truth

_QUEUED = 2  # shards per worker, one at work and one waiting


def evaluate_run(job: EvaluateJob, uri: str) -> int:
    """Evaluate the run at that URI; returns the exit code."""
    run = load_run(uri)
    shards = sorted(run.committed())
    if not shards:
        raise UserError(f"{uri} has no finished shard yet; run jobs.scan first")
    truth = read_truth(job.truth) if job.truth else {}
    output = job.output or storage.join(uri, "evaluation")
    on_cpus = job.pool.model_copy(update={"gpus_per_worker": 0.0})
    with (
        tracked("evaluate", job, job.tracking, uri) as tracker,
        connected(on_cpus) as pool,
        tempfile.TemporaryDirectory() as folder,
    ):
        tracker.tags({"forensics.run": uri, "forensics.digest": run.digest})
        path = str(Path(folder) / "images.parquet")
        missing = _write_records(_evaluated(run, shards, truth, job.border, pool), truth, path, run)
        records = pq.read_table(path)
        if truth and len(missing) == len(truth):
            raise UserError(_nothing_in_common(job, missing, records))
        summary = {
            "run": uri,
            "digest": run.digest,
            "border": job.border,
            "shards": {"evaluated": len(shards), "of": run.shards},
            "truth": {"uri": job.truth, "rows": len(truth), "not_in_run": len(missing)},
            "not_in_run": missing[:NAMED],
            **summarise(records),
        }
        text = json.dumps(summary, indent=1, ensure_ascii=False, allow_nan=False)
        storage.write_file(storage.join(output, "images.parquet"), path)
        storage.write(storage.join(output, "summary.json"), text.encode())
        tracker.text(text, "summary.json")
        _track(tracker, summary, records)
    for line in _lines(summary):
        print(line)
    print(f"-> {output}")
    whole = len(shards) == run.shards and not missing and not summary["problems"]["count"]
    return OK if whole else INCOMPLETE


def _evaluated(
    run: Run, shards: Iterable[int], truth: Mapping[str, ManifestRow], border: Border, pool: Pool
) -> Iterator[pa.Table]:
    """Records of the shards, in their order; a few shards are at work at any time."""
    reader = manifest.ShardReader(run.manifest_uri, run.shard_rows)
    task = ray.remote(num_cpus=pool.cpus_per_worker)(evaluate_committed)
    waiting, running = iter(shards), deque[Any]()
    while True:
        for shard in islice(waiting, _QUEUED * pool.workers - len(running)):
            ids = [row.image_id for row in reader.read(shard)] if truth else []
            known = {image_id: truth[image_id] for image_id in ids if image_id in truth}
            running.append(task.remote(run, shard, known, border))
        if not running:
            return
        result = ray.get(running.popleft())
        if isinstance(result, str):
            raise UserError(result)
        yield result


def _write_records(
    tables: Iterable[pa.Table], truth: Mapping[str, ManifestRow], path: str, run: Run
) -> list[str]:
    """Write the records to a local file; returns the ids of the truth that had none."""
    left = dict.fromkeys(truth)
    with (
        pq.ParquetWriter(path, RECORDS, compression="zstd") as writer,
        Progress(total=run.rows) as progress,
    ):
        for table in tables:
            writer.write_table(table)
            ids = pc.unique(table["image_id"]).to_pylist()
            for image_id in ids:
                left.pop(image_id, None)
            progress.add(len(ids))
    return list(left)


def _track(tracker: Tracker, summary: Mapping[str, Any], records: pa.Table) -> None:
    """Metrics, the table and the figures."""
    tracker.metrics(dict(_metrics(summary)))
    if rows := pixel_rows(summary):
        tracker.table({name: [row[name] for row in rows] for name in rows[0]}, "pixels.json")
    found = summary["detectors"]
    curves = {name: d["f1_curve"] for name, d in found.items() if d["f1_curve"]}
    if curves:
        shown = {name: (curve["thresholds"], curve["f1"]) for name, curve in curves.items()}
        tracker.figure(plots.f1_curves(shown), "f1_curve.png")
    rocs = {name: d["image"] for name, d in found.items() if d["image"]["roc"]}
    if rocs:
        lines = {n: (i["roc"]["fpr"], i["roc"]["tpr"], i["auc"]) for n, i in rocs.items()}
        tracker.figure(plots.roc_curves(lines), "roc.png")
    for name in found:
        own = records.filter(pc.equal(records["detector"], name))
        if kinds := _grouped(own, "source", "f1_best"):
            title = f"{name}: pixel F1 at the best threshold, by kind of forgery"
            tracker.figure(plots.boxes(kinds, title, "F1"), f"{name}/f1_best.png")
        if scores := _grouped(own, "label", "score"):
            tracker.figure(plots.histogram(scores, name, "score"), f"{name}/scores.png")
        if peaks := _grouped(own, "status", "pce"):
            figure = plots.log_histogram(peaks, f"{name}: best camera of each image", "PCE")
            tracker.figure(figure, f"{name}/pce.png")


def _metrics(summary: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Numbers by name: ``prnu.f1_best.mean``, ``prnu.f1_best.splice``, ``prnu.auc`` …"""
    for detector, found in summary["detectors"].items():
        values: dict[str, float | None] = {"abstention_rate": found["abstention_rate"]}
        for name in PIXEL_MEASURES:
            measure = found["pixel"][name]
            values |= {f"{name}.{kind}": m["mean"] for kind, m in measure["source"].items()}
            values |= {
                f"{name}.camera.{camera}": m["mean"] for camera, m in measure["camera_id"].items()
            }
            values |= {f"{name}.mean": measure["mean"], f"{name}.n": measure["n"] or None}
        for name in ("auc", "balanced_accuracy_decision", "balanced_accuracy_best"):
            values[name] = found["image"][name]
        for name in ("mean", "max"):
            values[f"false_alarm_area.{name}"] = found["false_alarm_area"][name]
        if found["f1_curve"]:
            values["f1_curve.max"] = found["f1_curve"]["max"]
        if identified := found["identification"]:
            values["accuracy"] = identified["accuracy"]
            values["answered"] = identified["answered"]
        for name, value in values.items():
            if value is not None:
                yield as_name(f"{detector}.{name}"), value


def _grouped(records: pa.Table, group: str, name: str) -> dict[str, list[float]]:
    measured = records.filter(pc.is_valid(records[name]))
    groups: dict[str, list[float]] = {}
    pairs = zip(measured[group].to_pylist(), measured[name].to_pylist(), strict=True)
    for key, value in pairs:
        groups.setdefault(NOT_GIVEN if key is None else key, []).append(value)
    return dict(sorted(groups.items()))


def _lines(summary: Mapping[str, Any]) -> Iterator[str]:
    """The summary for people."""
    labels = ", ".join(f"{label} {count}" for label, count in summary["labels"].items())
    shards = summary["shards"]
    yield f"{summary['images']} images ({labels}), {shards['evaluated']} of {shards['of']} shards"
    if not summary["labels"].keys() & {FORGED, PRISTINE}:
        yield "no image is labelled forged or pristine: give the labels in a manifest with --truth"
    if count := summary["truth"]["not_in_run"]:
        lacking = named(summary["not_in_run"], count)
        yield f"{count} rows of the truth are not in the run: {lacking}"
    rows = pixel_rows(summary)
    for name, found in summary["detectors"].items():
        yield from _detector_lines(name, found, [row for row in rows if row["detector"] == name])
    problems = summary["problems"]
    if problems["count"]:
        yield f"{problems['count']} could not be compared:"
        for problem in problems["examples"]:
            yield "  {image_id} ({detector}): {problem}".format(**problem)


def _detector_lines(
    name: str, found: Mapping[str, Any], rows: list[dict[str, Any]]
) -> Iterator[str]:
    total: Counter[str] = sum((Counter(c) for c in found["status"].values()), Counter())
    yield f"{name}: " + ", ".join(f"{status} {count}" for status, count in sorted(total.items()))
    if rows:
        width = max(len(row["images"]) for row in rows)
        yield f"  {'pixels':<{width}}     n" + "".join(f"{m:>13}" for m in PIXEL_MEASURES)
        for row in rows:
            numbers = "".join(f"{_shown(row[measure]):>13}" for measure in PIXEL_MEASURES)
            yield f"  {row['images']:<{width}} {row['n']:5d}{numbers}"
    if curve := found["f1_curve"]:
        yield f"  one threshold for all: F1 {curve['max']:.3f} at {curve['best_threshold']:.2f}"
    image, alarms = found["image"], found["false_alarm_area"]
    if image["forged"] + image["pristine"]:
        yield (
            f"  images: AUC {_shown(image['auc'])} ({image['forged']} forged, {image['pristine']} "
            f"pristine), balanced accuracy {_shown(image['balanced_accuracy_decision'])} as "
            f"decided, {_shown(image['balanced_accuracy_best'])} at the best threshold "
            f"({_shown(image['best_threshold'])})"
        )
    if alarms["n"]:
        worst = next(iter(alarms["worst"]), None)
        yield (
            f"  false alarms: {alarms['mean']:.2%} of the area of {alarms['n']} pristine images, "
            f"at most {alarms['max']:.2%}" + (f" ({worst})" if worst else "")
        )
    if who := found["identification"]:
        known, unknown = who["known_cameras"], who["unknown_cameras"]
        yield (
            f"  cameras: {who['correct']} of {who['answered']} answers are right; known cameras: "
            f"{known['wrong']} wrong, {known['abstained']} abstained; unknown cameras: "
            f"{unknown['named']} named, {unknown['abstained']} abstained"
        )


def _nothing_in_common(job: EvaluateJob, missing: list[str], records: pa.Table) -> str:
    there = pc.unique(records["image_id"]).to_pylist()
    return (
        f"no image_id of {job.truth} occurs in {job.run}: the truth has {named(missing[:3])}, the "
        f"run {named(there[:3])}. Give both the same ids."
    )


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
