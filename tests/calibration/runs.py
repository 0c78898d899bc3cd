"""Committed runs with given scores of two detectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from forensics.manifest import freeze, write_manifest
from forensics.records import Finding, ManifestRow, ReportRow, Status
from forensics.run import Run, open_run
from forensics.schema import report_record
from tests.saboteur import NAME


class Second:
    """A detector by its columns alone."""

    name: ClassVar[str] = "second"
    columns: ClassVar[Mapping[str, pa.DataType]] = {}


PLACES = {"saboteur": NAME, "second": "tests.calibration.runs:Second"}
INPUTS = {
    "detectors.saboteur": "weights-1",
    "detectors.second": "weights-2",
    "settings.second.window": 64,
    "settings.second.weights": "a/file",
    "settings.device": "cpu",
    "versions.source": "abc",
    "versions.torch": "2.13",
}


def row(scores: Mapping[str, float | None] | None, **known: Any) -> dict[str, Any]:
    """A report row to be: scores by detector (None abstained), or None for a file unread."""
    return {"scores": scores, **known}


def scored_run(
    folder: Path,
    rows: Sequence[dict[str, Any]],
    detectors: Sequence[str] = ("saboteur",),
    state: str = "complete",
    calibration: Any = None,
    shard_rows: int = 4,
) -> Run:
    """A run that answered these rows, marked if there is a calibration."""
    listed = [
        ManifestRow(f"image{n}", f"/none/{n}", label=r.get("label")) for n, r in enumerate(rows)
    ]
    folder.mkdir(parents=True, exist_ok=True)
    write_manifest(listed, str(folder / "source.parquet"))
    frozen = freeze(str(folder / "source.parquet"), f"{folder}/run/manifest.parquet", shard_rows)
    run = open_run(
        f"{folder}/run",
        inputs={**INPUTS, "manifest": frozen.digest},
        settings={},
        detectors=[PLACES[name] for name in detectors],
        rows=frozen.rows,
        shards=frozen.shards,
        shard_rows=shard_rows,
        calibration=calibration.digest if calibration else None,
    )
    for shard in range(frozen.shards):
        records = [_record(n, listed[n], rows[n]) for n in run.rows_of(shard)]
        run.commit(shard, [calibration.marked(r) for r in records] if calibration else records, [])
    run.note(state, {})
    return run


def _record(position: int, listed: ManifestRow, known: dict[str, Any]) -> dict[str, Any]:
    sha256 = known.get("sha256", f"{position:064x}")
    if known["scores"] is None:
        return report_record(position, ReportRow(listed, Status.UNREADABLE, "broken"))
    findings = {
        name: Finding(Status.NOT_APPLICABLE, "no basis") if score is None else Finding(score=score)
        for name, score in known["scores"].items()
    }
    return report_record(position, ReportRow(listed, Status.OK, sha256=sha256, findings=findings))


def pristine(scores: Sequence[float | None], name: str = "saboteur") -> list[dict[str, Any]]:
    """Rows with these scores of one detector."""
    return [row({name: score}) for score in scores]
