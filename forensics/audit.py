"""The count at the end of a run: rows in, rows out, read from what was committed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from forensics.manifest import ShardReader
from forensics.records import UserError
from forensics.run import READERS, Run

_EXAMPLES = 20


@dataclass
class Audit:
    """What a run's outputs hold, against its manifest."""

    rows: int  # in the manifest
    found: int = 0  # rows of the manifest that have their one report row
    statuses: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)  # the first few, in words
    problem_count: int = 0
    damaged: int = 0  # shards whose report cannot be read, or whose maps are missing

    @property
    def complete(self) -> bool:
        return self.found == self.rows and not self.problem_count

    def counts(self) -> dict[str, Any]:
        """Rows, report rows and statuses, as they go into ``run.json``."""
        return {
            "rows": self.rows,
            "found": self.found,
            "status": dict(sorted(self.statuses.items())),
        }


def audit(run: Run) -> Audit:
    """Compare every committed shard with the manifest, row by row, in bounded memory.

    Reports are read whole, so that one that was damaged on its disk is found wherever that is. Of
    the maps that they name, only whether they are there is looked at.
    """
    result = Audit(run.rows)
    committed = run.committed()
    stored = run.stored_maps()
    with ThreadPoolExecutor(READERS) as pool:
        reader = ShardReader(run.manifest_uri, run.shard_rows)
        for start in range(0, run.shards, 256):
            shards = range(start, min(start + 256, run.shards))
            tables = pool.map(lambda shard: _columns(run, shard, committed, stored), shards)
            for shard, outcome in zip(shards, tables, strict=True):
                result.damaged += isinstance(outcome, str) and shard in committed
                _compare(result, run, shard, reader.ids(shard), outcome)
    if beyond := sorted(shard for shard in committed if shard >= run.shards):
        _problem(result, f"shards {beyond[:5]} are beyond the manifest's {run.shards}")
    return result


def rows_with_status(run: Run, statuses: set[str]) -> Iterator[tuple[int, list[int]]]:
    """Shard and row positions of the committed rows that have one of these statuses."""
    for shard, table in run.reports(["row", "status"]):
        columns = table.to_pydict()
        rows = [r for r, s in zip(columns["row"], columns["status"], strict=True) if s in statuses]
        if rows:
            yield shard, rows


def _columns(
    run: Run, shard: int, committed: set[int], stored: set[str]
) -> tuple[list[str], list[str]] | str:
    if shard not in committed:
        return f"shard {shard} is not committed"
    try:
        report = run.report(shard)
    except UserError as error:
        return str(error)
    if missing := run.maps_missing(shard, report, stored):
        return str(missing)
    table = report.select(["image_id", "status"]).to_pydict()
    return table["image_id"], table["status"]


def _compare(
    result: Audit,
    run: Run,
    shard: int,
    expected: list[str],
    outcome: tuple[list[str], list[str]] | str,
) -> None:
    if isinstance(outcome, str):
        _problem(result, f"{outcome}: {len(expected)} rows are missing")
        return
    ids, statuses = outcome
    result.statuses.update(statuses)
    if ids == expected:
        result.found += len(ids)
        return
    seen = Counter(ids)
    result.found += sum(image_id in seen for image_id in expected)
    where = run.report_uri(shard)
    for image_id in expected:
        if seen[image_id] != 1:
            _problem(result, f"{where} has {seen[image_id]} rows for image {image_id!r}, not 1")
    for image_id in seen.keys() - set(expected):
        _problem(result, f"{where} has a row for {image_id!r}, which is not in that shard")
    if sorted(ids) == sorted(expected):
        _problem(result, f"{where} has its rows in another order than the manifest")


def _problem(result: Audit, text: str) -> None:
    result.problem_count += 1
    if len(result.problems) < _EXAMPLES:
        result.problems.append(text)
