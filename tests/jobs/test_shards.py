"""Shards as they are dealt, and what an actor does with one that is committed already."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from forensics.limits import Limits
from forensics.run import Run
from forensics.schema import STATUSES
from jobs import scan as scan_module
from jobs import shards
from jobs.scan import scan
from jobs.shards import ShardActor, Units, scan_shards
from tests.calibration.runs import pristine, scored_run
from tests.jobs.runs import make_archive, scan_job


def test_units_are_dealt_in_order_and_in_even_parts() -> None:
    units: Units = dict.fromkeys(range(7), ()) | {9: [36, 38]}
    for most, sizes in ((3, [2, 3, 3]), (8, [1] * 8), (100, [1] * 8), (1, [8])):
        parts = shards._blocks(units, most)
        assert [len(part) for part in parts] == sizes
        rows = pa.concat_tables(parts).to_pylist()
        assert [row["shard"] for row in rows] == [*range(7), 9]
        assert [row["rows"] for row in rows] == [[]] * 7 + [[36, 38]]


def test_a_shard_that_was_committed_meanwhile_is_counted_and_not_done_again(
    tmp_path: Path,
) -> None:
    """Its images are not there any more, so that to examine them again would show."""
    run = scored_run(tmp_path, pristine([0.1, 0.2, None, 0.4, 0.5]))
    before = Path(run.report_uri(1)).stat().st_mtime_ns
    actor = ShardActor(run, "no settings: no child is started", Limits(), 0)
    [ledger] = actor(pa.Table.from_pylist([{"shard": 1, "rows": []}])).to_pylist()
    assert {name: ledger[name] for name in ("shard", "rows", "error")} == {
        "shard": 1,
        "rows": 1,
        "error": None,
    }
    assert {status: ledger[status] for status in STATUSES if ledger[status]} == {"ok": 1}
    assert Path(run.report_uri(1)).stat().st_mtime_ns == before


@pytest.mark.ray
@pytest.mark.usefixtures("ray_local")
def test_ledger_rows_do_not_wait_for_the_rest_of_their_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "BLOCKS", 1)
    committed: list[set[int]] = []

    def watched(run: Run, *rest: Any) -> Iterator[dict[str, Any]]:
        for ledger in scan_shards(run, *rest):
            committed.append(run.committed())
            yield ledger

    monkeypatch.setattr(scan_module, "scan_shards", watched)
    manifest = make_archive(tmp_path, ["a", "b", "hang"])
    limits = Limits(timeout_seconds=10)
    job = scan_job(manifest, tmp_path / "run", shard_rows=1, pool={"workers": 1}, limits=limits)
    assert scan(job) == 0
    assert len(committed) == 3
    assert 2 not in committed[0]
    assert 2 in committed[2]
