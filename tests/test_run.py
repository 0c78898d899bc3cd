"""The output folder of a scan, and the count at its end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from forensics import storage
from forensics.audit import audit, rows_with_status
from forensics.manifest import freeze, write_manifest
from forensics.records import Finding, ManifestRow, Map, ReportRow, Status, UserError
from forensics.run import Run, load_document, open_run
from forensics.schema import map_records, report_record
from tests.saboteur import NAME

INPUTS = {"manifest": "abc", "settings.prnu.window": 128}


def begin(folder: Path, rows: int = 10, inputs: dict[str, Any] | None = None) -> Run:
    manifest = folder / "source.parquet"
    write_manifest([ManifestRow(f"image{n}", f"/{n}.jpg") for n in range(rows)], str(manifest))
    output = str(folder / "run")
    frozen = freeze(str(manifest), f"{output}/manifest.parquet", shard_rows=4)
    return open_run(
        output,
        inputs=inputs or INPUTS,
        settings={},
        detectors=(NAME,),
        rows=frozen.rows,
        shards=frozen.shards,
        shard_rows=4,
    )


def report(index: int, status: Status = Status.OK) -> ReportRow:
    finding = Finding(
        score=index / 10,
        values={"mean": 1.5, "decision": True},
        maps=(Map("decision", 8, np.eye(3, dtype=bool)),),
    )
    row = ManifestRow(f"image{index}", f"/{index}.jpg")
    return ReportRow(row, status, None, sha256="0" * 64, size=9, findings={"saboteur": finding})


def commit(run: Run, shard: int, skip: tuple[int, ...] = (), status: Status = Status.OK) -> None:
    reports = {n: report(n, status) for n in run.rows_of(shard) if n not in skip}
    run.commit(
        shard,
        [report_record(n, r) for n, r in reports.items()],
        [m for r in reports.values() for m in map_records(r)],
    )


def test_a_committed_shard_reads_back(tmp_path: Path) -> None:
    run = begin(tmp_path)
    assert (run.rows, run.shards) == (10, 3)
    assert [list(run.rows_of(shard)) for shard in range(3)] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    commit(run, 2)
    assert run.committed() == {2}
    rows = run.report(2).to_pylist()
    assert [row["image_id"] for row in rows] == ["image8", "image9"]
    assert rows[0]["saboteur"] == {
        "status": "ok",
        "reason": None,
        "score": 0.8,
        "seconds": 0.0,
        "mean": 1.5,
        "decision": True,
    }
    maps = run.maps(2).to_pylist()
    assert [(m["image_id"], m["kind"], m["stride"]) for m in maps] == [
        ("image8", "decision", 8),
        ("image9", "decision", 8),
    ]


def test_committing_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    run = begin(tmp_path)
    commit(run, 0)
    first = Path(run.report_uri(0)).read_bytes(), Path(run.maps_uri(0)).read_bytes()
    commit(run, 0)
    assert first == (Path(run.report_uri(0)).read_bytes(), Path(run.maps_uri(0)).read_bytes())


def test_the_same_inputs_continue_and_others_are_refused(tmp_path: Path) -> None:
    run = begin(tmp_path)
    assert begin(tmp_path).digest == run.digest
    with pytest.raises(UserError) as caught:
        begin(tmp_path, inputs={**INPUTS, "settings.prnu.window": 64})
    assert "settings.prnu.window: 128 there, 64 now" in str(caught.value)
    assert "manifest:" not in str(caught.value)


def test_a_damaged_run_file_is_named(tmp_path: Path) -> None:
    run = begin(tmp_path)
    (tmp_path / "run" / "run.json").write_text("{half")
    with pytest.raises(UserError, match=r"run\.json is damaged"):
        begin(tmp_path)
    with pytest.raises(UserError, match="holds no run"):
        load_document(str(tmp_path))
    assert run.rows == 10


def test_a_complete_run_passes_the_audit(tmp_path: Path) -> None:
    run = begin(tmp_path)
    for shard in range(3):
        commit(run, shard)
    result = audit(run)
    assert result.complete
    assert result.counts() == {"rows": 10, "found": 10, "status": {"ok": 10}}


def test_the_audit_names_what_is_missing(tmp_path: Path) -> None:
    run = begin(tmp_path)
    commit(run, 0)
    commit(run, 1, skip=(5,))
    result = audit(run)
    assert not result.complete
    assert result.found == 7
    assert any("0 rows for image 'image5'" in problem for problem in result.problems)
    assert any("shard 2 is not committed: 2 rows" in problem for problem in result.problems)


def test_the_audit_sees_doubled_foreign_and_reordered_rows(tmp_path: Path) -> None:
    run = begin(tmp_path)
    records = [report_record(n, report(n)) for n in (0, 1, 2, 2)]
    run.commit(0, records, [])
    run.commit(1, [report_record(n, report(n)) for n in (4, 5, 6, 9)], [])
    run.commit(2, [report_record(n, report(n)) for n in (9, 8)], [])
    text = "\n".join(audit(run).problems)
    assert "2 rows for image 'image2'" in text
    assert "0 rows for image 'image3'" in text
    assert "a row for 'image9', which is not in that shard" in text
    assert "another order" in text


def test_a_damaged_shard_is_missing_and_named(tmp_path: Path) -> None:
    run = begin(tmp_path)
    for shard in range(3):
        commit(run, shard)
    path = Path(run.report_uri(1))
    path.write_bytes(path.read_bytes()[:-20])
    result = audit(run)
    assert result.found == 6
    assert any(path.name in problem and "Delete it" in problem for problem in result.problems)


@pytest.mark.parametrize("missing", [False, True])
def test_of_maps_that_cannot_be_read_the_report_is_to_be_deleted(
    tmp_path: Path, missing: bool
) -> None:
    """Without maps a shard would still count as done."""
    run = begin(tmp_path)
    commit(run, 1)
    path = Path(run.maps_uri(1))
    if missing:
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match=r"maps/.*00001-\w{16}\.parquet is damaged") as error:
        run.maps(1)
    assert f"Delete {run.report_uri(1)} and run" in str(error.value)


def test_the_audit_misses_maps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = replace(begin(tmp_path), uri="run")
    for shard in range(3):
        commit(run, shard)
    assert audit(run).complete
    path = Path(run.maps_uri(1))
    path.unlink()
    result = audit(run)
    assert (result.found, result.damaged) == (6, 1)
    assert any(path.name in p and f"Delete {run.report_uri(1)}" in p for p in result.problems)


def test_a_kill_between_maps_and_report_of_a_redone_shard_leaves_the_old_pair(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = begin(tmp_path)
    commit(run, 0, status=Status.FAILED)
    rows, maps, old = run.report(0), run.maps(0), Path(run.maps_uri(0))
    records = [report_record(n, report(n)) for n in run.rows_of(0)]
    fewer = map_records(report(0))
    write = storage.write

    def killed_before_the_report(uri: str, data: bytes) -> None:
        if uri == run.report_uri(0):
            raise KeyboardInterrupt
        write(uri, data)

    with monkeypatch.context() as patch:
        patch.setattr(storage, "write", killed_before_the_report)
        with pytest.raises(KeyboardInterrupt):
            run.commit(0, records, fewer, again=True)
    assert len(list(old.parent.iterdir())) == 2  # the new maps are nobody's
    assert run.report(0).equals(rows)
    assert run.maps(0).equals(maps)
    run.commit(0, records, fewer, again=True)
    assert run.maps(0).num_rows == len(fewer) < maps.num_rows
    assert list(old.parent.iterdir()) == [Path(run.maps_uri(0))]


def test_reports_come_in_order_and_all(tmp_path: Path) -> None:
    run = begin(tmp_path)
    assert list(run.reports()) == []
    for shard in (2, 0):
        commit(run, shard)
    found = [(shard, table["row"].to_pylist()) for shard, table in run.reports(["row"])]
    assert found == [(0, [0, 1, 2, 3]), (2, [8, 9])]


def test_rows_are_found_by_status(tmp_path: Path) -> None:
    run = begin(tmp_path)
    commit(run, 0, status=Status.TIMEOUT)
    commit(run, 1)
    assert list(rows_with_status(run, {"timeout"})) == [(0, [0, 1, 2, 3])]
    assert list(rows_with_status(run, {"failed"})) == []


def test_notes_keep_the_rest_of_the_document(tmp_path: Path) -> None:
    run = begin(tmp_path)
    run.note("complete", {"rows": 10})
    document = load_document(run.uri)
    assert (document["state"], document["counts"]) == ("complete", {"rows": 10})
    assert document["inputs"] == INPUTS


def test_every_flipped_bit_of_a_report_is_found_or_changes_nothing(tmp_path: Path) -> None:
    run = begin(tmp_path, rows=2)
    commit(run, 0)
    path = Path(run.report_uri(0))
    whole, content = run.report(0), path.read_bytes()
    found = 0
    for place in range(0, len(content), 7):
        path.write_bytes(
            content[:place] + bytes([content[place] ^ 1 << place % 8]) + content[place + 1 :]
        )
        try:
            same = run.report(0).equals(whole)
        except UserError:
            found += 1
        else:
            assert same
    assert found > len(content) / 7 / 4


def test_a_report_of_another_run_or_shard_is_not_taken_for_this_one(tmp_path: Path) -> None:
    run = begin(tmp_path / "one")
    other = begin(tmp_path / "two", inputs={**INPUTS, "manifest": "def"})
    for each in (run, other):
        commit(each, 0)
    first = Path(run.report_uri(0))
    Path(run.report_uri(1)).write_bytes(first.read_bytes())
    first.write_bytes(Path(other.report_uri(0)).read_bytes())
    for shard in (0, 1):
        with pytest.raises(UserError, match="not what this run wrote there"):
            run.report(shard)
