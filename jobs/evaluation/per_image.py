"""Studies on Ray: one task per image; records to Parquet, numbers and figures to MLflow."""

from __future__ import annotations

import tempfile
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import ray
from matplotlib.figure import Figure

from forensics import storage
from forensics.evaluate.study import (
    figures,
    localization,
    localization_summary,
    prediction,
    prediction_summary,
    trufor,
    trufor_summary,
)
from forensics.evaluate.study.settings import LocalizationStudy, PredictionStudy
from forensics.evaluate.study.trufor import Checkpoints, TruForStudy, open_localizer
from forensics.prnu.library import CameraLibrary
from forensics.records import ManifestRow, Status, UserError
from jobs.cluster import Pool, connected
from jobs.entry import INCOMPLETE, OK
from jobs.evaluation.output import destination, keep
from jobs.evaluation.settings import EvaluateJob
from jobs.progress import Progress
from jobs.tracking import Tracker, as_name, store_uri, tracked
from jobs.truth import read_truth
from jobs.weights import resolved

Study = PredictionStudy | LocalizationStudy | TruForStudy

_QUEUED = 2  # images per worker, one at work and one waiting
_RETRIES = 1  # of an image whose worker died
_REASONS = 10  # printed
_BATCH = 1000  # MLflow's limit of metrics per call


class Tools(Protocol):
    """What images are judged with, as the driver found it: small, hashable, and the same later."""

    @property
    def identity(self) -> dict[str, str]:
        """Digests by name."""

    def open(self, device: str) -> Any:
        """The loaded tools. Raises `UserError` where they changed meanwhile."""

    def __hash__(self) -> int: ...


@dataclass(frozen=True)
class Cameras:
    """A library of camera models."""

    models: str  # URI
    version: str  # digest of the library

    @property
    def identity(self) -> dict[str, str]:
        return {"camera_models": self.version}

    def open(self, device: str) -> CameraLibrary:
        library = CameraLibrary(self.models, device)
        if library.digest != self.version:
            raise UserError(f"the camera models in {self.models} changed while they were in use")
        return library


@dataclass(frozen=True)
class _Kind:
    """What the studies have in common."""

    name: str
    group: str  # column of the table: what numbers are of, beside the variant
    tools: Tools
    schema: pa.Schema
    evaluate_image: Callable[[ManifestRow, Any, str], pa.Table]
    abstain: Callable[[ManifestRow, Exception], pa.Table]
    summarise: Callable[[pa.Table, int], dict[str, Any]]
    table: Callable[[Mapping[str, Any]], pa.Table]
    lines: Callable[[Mapping[str, Any]], Iterator[str]]
    figures: Callable[[pa.Table, Mapping[str, Any]], dict[str, Figure]]


def evaluate_study(job: EvaluateJob, study: Study) -> int:
    """Judge every image of the truth in every variant; returns the exit code."""
    truth, output = destination(job)
    rows = sorted(read_truth(truth).values(), key=lambda r: (r.camera_id or "", r.image_id))
    if not rows:
        raise UserError(f"{truth} names no image")
    kind = _kind(study, job)
    with (
        tracked("evaluate", job, job.tracking, output) as tracker,
        connected(job.pool) as pool,
        tempfile.TemporaryDirectory() as folder,
    ):
        tags = {"study": kind.name, **kind.tools.identity}
        tracker.tags({f"forensics.{name}": value for name, value in tags.items()})
        path = str(Path(folder) / "study.parquet")
        tables = _examined(rows, kind, pool)
        _write_records(tables, path, len(rows), kind.schema)
        records = pq.read_table(path)
        summary = {
            "study": kind.name,
            "settings": study.model_dump(mode="json"),
            "truth": {"uri": truth, "rows": len(rows)},
            **kind.tools.identity,
            **kind.summarise(records, study.seed),
        }
        table = kind.table(summary)
        storage.write_file(storage.join(output, "study.parquet"), path)
        keep(output, summary, table, tracker)
        _track(tracker, kind, records, summary, table)
    for line in (*kind.lines(summary), *_outcome_lines(summary)):
        print(line)
    print(f"-> {output}")
    return OK if _whole(summary) else INCOMPLETE


def _kind(study: Study, job: EvaluateJob) -> _Kind:
    if isinstance(study, TruForStudy):
        return _Kind(
            "trufor",
            "source",
            _checkpoints(study, job),
            trufor.RECORDS,
            partial(trufor.evaluate_image, study),
            partial(trufor.abstain, study),
            trufor_summary.summarise,
            trufor_summary.table,
            trufor_summary.lines,
            trufor_summary.figures,
        )
    cameras = Cameras(study.camera_models, CameraLibrary(study.camera_models).digest)
    if isinstance(study, PredictionStudy):
        return _Kind(
            "prediction",
            "camera_id",
            cameras,
            prediction.RECORDS,
            partial(prediction.evaluate_image, study),
            partial(prediction.abstain, study),
            prediction_summary.summarise,
            prediction_summary.table,
            prediction_summary.lines,
            figures.prediction_figures,
        )
    return _Kind(
        "localization",
        "camera_id",
        cameras,
        localization.RECORDS,
        partial(localization.evaluate_image, study, job.border),
        partial(localization.abstain, study),
        localization_summary.summarise,
        localization_summary.table,
        localization_summary.lines,
        lambda _, summary: figures.localization_figures(summary),
    )


def _checkpoints(study: TruForStudy, job: EvaluateJob) -> Checkpoints:
    """The files of the weights, looked at before workers start."""
    output = str(job.output)
    store = store_uri(job.tracking, output)
    found = resolved(study, store, storage.join(output, "weights")).checkpoints
    files = []
    for name, uri in found.items():
        data = storage.read(uri)
        files.append((name, uri, str(open_localizer(data, uri).digest)))
    return Checkpoints(tuple(files), study.precision)


def _examined(rows: Iterable[ManifestRow], kind: _Kind, pool: Pool) -> Iterator[pa.Table]:
    """Records of the images, in their order; a few images are at work at any time."""
    device = "cuda" if pool.gpus_per_worker else "cpu"
    task = ray.remote(
        num_cpus=pool.cpus_per_worker, num_gpus=pool.gpus_per_worker, max_retries=_RETRIES
    )(_evaluate_image)
    waiting, running = iter(rows), deque[tuple[ManifestRow, Any]]()
    while True:
        for row in islice(waiting, _QUEUED * pool.workers - len(running)):
            parts = (kind.evaluate_image, kind.abstain, kind.tools, device)
            running.append((row, task.remote(row, *parts)))
        if not running:
            return
        row, result = running.popleft()
        try:
            yield ray.get(result)
        except ray.exceptions.RayError as error:  # its worker died, again and again
            yield kind.abstain(row, error)


def _evaluate_image(
    row: ManifestRow,
    evaluate_image: Callable[[ManifestRow, Any, str], pa.Table],
    abstain: Callable[[ManifestRow, Exception], pa.Table],
    tools: Tools,
    device: str,
) -> pa.Table:
    try:
        opened = _opened(tools, device)
    except Exception as error:
        return abstain(row, error)
    return evaluate_image(row, opened, device)


@lru_cache(maxsize=1)
def _opened(tools: Tools, device: str) -> Any:
    """Kept by a worker from image to image."""
    return tools.open(device)


def _write_records(tables: Iterable[pa.Table], path: str, images: int, schema: pa.Schema) -> None:
    with pq.ParquetWriter(path, schema, compression="zstd") as writer, Progress(images) as progress:
        for table in tables:
            writer.write_table(table)
            found = pc.unique(table["status"]).to_pylist()
            progress.add(1, {str(Status.OK) if str(Status.OK) in found else found[0]: 1})


def _track(
    tracker: Tracker, kind: _Kind, records: pa.Table, summary: Mapping[str, Any], table: pa.Table
) -> None:
    """Metrics and figures."""
    numbers = [field.name for field in table.schema if pa.types.is_floating(field.type)]
    metrics = {
        as_name(f"{number}.{row['variant']}.{row[kind.group]}"): row[number]
        for row in table.to_pylist()
        for number in numbers
        if row[number] is not None
    }
    for start in range(0, len(metrics), _BATCH):
        tracker.metrics(dict(islice(metrics.items(), start, start + _BATCH)))
    for name, figure in kind.figures(records, summary).items():
        tracker.figure(figure, name)


def _outcome_lines(summary: Mapping[str, Any]) -> Iterator[str]:
    """How many images were judged, and why others were not."""
    variants = summary["variants"]
    together: dict[str, list[str]] = {}
    for variant in variants:
        counts = ", ".join(f"{status} {n}" for status, n in variant["status"].items())
        together.setdefault(counts, []).append(variant["name"])
    for counts, names in together.items():
        yield f"{'all variants' if len(together) == 1 else '; '.join(names)}: {counts}"
    reasons = Counter[str]()
    for variant in variants:  # the same image has the same reason in many variants
        reasons |= Counter(variant["reasons"])
    for reason, count in reasons.most_common(_REASONS):
        yield f"  {count} x {reason}"
    if len(reasons) > _REASONS:
        yield f"  and {len(reasons) - _REASONS} more reasons, see summary.json"


def _whole(summary: Mapping[str, Any]) -> bool:
    """Whether every variant judged images, and abstained from the others with a good reason."""
    return all(
        variant["judged"] and not variant["status"].keys() - {Status.OK, Status.NOT_APPLICABLE}
        for variant in summary["variants"]
    )
