"""Small committed runs with known answers, to be compared with known truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from forensics.manifest import freeze, write_manifest
from forensics.records import Finding, ManifestRow, Map, ReportRow, Status
from forensics.run import Run, open_run
from forensics.schema import map_records, report_record
from tests.saboteur import NAME

HEIGHT, WIDTH, STRIDE = 20, 28, 8
"""Neither side is a multiple of the stride: cells at the edges are 4 pixels high and wide."""

CELLS = (3, 4)


def cells(*forged: tuple[int, int]) -> NDArray[np.bool_]:
    """A map of an image with these cells true."""
    values = np.zeros(CELLS, dtype=bool)
    for cell in forged:
        values[cell] = True
    return values


def pixels(map_values: NDArray[Any]) -> NDArray[Any]:
    """The map at the size of the image."""
    return np.kron(map_values, np.ones((STRIDE, STRIDE), map_values.dtype))[:HEIGHT, :WIDTH]


def write_mask(path: Path, forged: NDArray[np.bool_], value: int = 255) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(forged.astype(np.uint8) * value).save(path)
    return str(path)


def answer(
    probability: NDArray[Any] | None = None,
    decision: NDArray[np.bool_] | None = None,
    score: float = 0.5,
) -> Finding:
    """A finding with these maps; it decides for tampering where the decision map does."""
    maps = []
    if probability is not None:
        maps.append(Map("probability", STRIDE, np.asarray(probability, np.float32)))
    if decision is not None:
        maps.append(Map("decision", STRIDE, decision))
    decided = None if decision is None else bool(decision.any())
    return Finding(score=score, values={"mean": 0.0, "decision": decided}, maps=tuple(maps))


def report(row: ManifestRow, finding: Finding | None, status: Status | None = None) -> ReportRow:
    """The report row of an image of ``HEIGHT`` x ``WIDTH`` pixels; unreadable without finding."""
    if finding is None:
        return ReportRow(row, status or Status.UNREADABLE, "broken file")
    found = {"saboteur": finding}
    return ReportRow(row, status or finding.status, height=HEIGHT, width=WIDTH, findings=found)


def commit_run(
    folder: Path,
    answers: Sequence[tuple[ManifestRow, Finding | None]],
    shard_rows: int = 4,
    shards: Sequence[int] | None = None,
) -> Run:
    """A run of the test detector whose ``shards`` (all, if not given) are committed."""
    rows = [row for row, _ in answers]
    source, output = str(folder / "source.parquet"), str(folder / "run")
    write_manifest(rows, source)
    frozen = freeze(source, f"{output}/manifest.parquet", shard_rows)
    run = open_run(
        output,
        inputs={"manifest": frozen.digest},
        settings={},
        detectors=(NAME,),
        rows=frozen.rows,
        shards=frozen.shards,
        shard_rows=shard_rows,
    )
    for shard in range(frozen.shards) if shards is None else shards:
        reports = {n: report(*answers[n]) for n in run.rows_of(shard)}
        run.commit(
            shard,
            [report_record(n, r) for n, r in reports.items()],
            [item for r in reports.values() for item in map_records(r)],
        )
    return run


def by_image(records: Any) -> Mapping[str, dict[str, Any]]:
    """Records of a run with one detector."""
    return {record["image_id"]: record for record in records.to_pylist()}
