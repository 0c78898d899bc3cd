"""Crashes, hangs and memory of one image cost that image's row and no other."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import pytest

from forensics.limits import Limits
from forensics.records import ManifestRow, UserError
from forensics.scan import Scanner, ScanSettings
from forensics.schema import map_records, report_record
from forensics.supervisor import Answer, SupervisedScanner
from tests.images import write_images
from tests.saboteur import NAME


def settings(**limits: float) -> ScanSettings:
    return ScanSettings(detectors=(NAME,), limits=Limits(**limits))


def supervised(settings: ScanSettings) -> SupervisedScanner:
    return SupervisedScanner(settings.model_dump_json(), settings.limits)


def answers(rows: list[ManifestRow], **limits: float) -> list[Answer]:
    with supervised(settings(**limits)) as scanner:
        return list(scanner.answers(list(enumerate(rows))))


def without_seconds(record: dict) -> dict:
    clean = {key: value for key, value in record.items() if key != "seconds"}
    for finding in clean.values():
        if isinstance(finding, dict):
            finding.pop("seconds")
    return clean


def test_the_child_answers_as_the_scanner_itself(tmp_path: Path) -> None:
    rows = write_images(tmp_path, [f"image{n}" for n in range(5)])
    here = Scanner(settings())
    expected = [here.answer(row) for row in rows]
    for index, (answer, report) in enumerate(zip(answers(rows), expected, strict=True)):
        assert answer.index == index
        assert without_seconds(answer.record) == without_seconds(report_record(index, report))
        assert answer.maps == map_records(report)
        assert answer.fetch_seconds is not None
        assert answer.fetch_seconds > 0


def test_the_memory_it_took_is_known_while_it_lives(tmp_path: Path) -> None:
    rows = write_images(tmp_path, ["a"])
    scanner = supervised(settings())
    assert scanner.peak_bytes == 0
    with scanner:
        scanner.start()
        loaded = scanner.peak_bytes
        assert loaded > 50e6  # an interpreter with torch
        list(scanner.answers(list(enumerate(rows))))
        assert scanner.peak_bytes >= loaded
    assert scanner.peak_bytes == 0


def test_one_poisoned_image_costs_one_failed_row(tmp_path: Path) -> None:
    rows = write_images(tmp_path, ["a", "b", "kill", "c", "raise", "abstain", "d"])
    records = {a.record["image_id"]: a.record for a in answers(rows)}
    assert list(records) == ["a", "b", "kill", "c", "raise", "abstain", "d"]
    assert {k: r["status"] for k, r in records.items()} == {
        **dict.fromkeys("abcd", "ok"),
        "kill": "failed",
        "raise": "failed",
        "abstain": "not_applicable",
    }
    assert "SIGKILL" in records["kill"]["reason"]
    assert "RuntimeError: this image is sabotaged" in records["raise"]["reason"]
    assert records["abstain"]["reason"] == "saboteur: asked to abstain"


def test_neighbouring_poisoned_images_are_told_apart(tmp_path: Path) -> None:
    ids = ["a", "kill1", "kill2", "b", "kill3"]
    records = [a.record for a in answers(write_images(tmp_path, ids))]
    assert [r["status"] for r in records] == ["ok", "failed", "failed", "ok", "failed"]


def test_an_image_that_was_only_near_a_death_is_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SABOTEUR_FOLDER", str(tmp_path))
    rows = write_images(tmp_path, ["a", "kill-once-1", "kill-once-2", "b"])
    assert [a.record["status"] for a in answers(rows)] == ["ok"] * 4


def test_a_hanging_image_becomes_a_timeout_row(tmp_path: Path) -> None:
    rows = write_images(tmp_path, ["a", "hang", "b"])
    records = [a.record for a in answers(rows, timeout_seconds=4.0)]
    assert [r["status"] for r in records] == ["ok", "timeout", "ok"]
    assert "4 s" in records[1]["reason"]


def test_bytes_that_do_not_come_are_no_slow_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server takes the request and never answers."""
    monkeypatch.setattr("forensics.supervisor.FETCH_SECONDS", 1.0)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "none")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        rows = [ManifestRow("silent", "s3://bucket/a.jpg"), *write_images(tmp_path, ["b"])]
        records = [a.record for a in answers(rows)]
    assert [r["status"] for r in records] == ["timeout", "ok"]
    assert records[0]["reason"] == (
        "its bytes did not arrive within 1 s; check the storage, then --retry status=timeout"
    )


def test_an_image_that_eats_memory_is_stopped_at_the_limit(tmp_path: Path) -> None:
    rows = write_images(tmp_path, ["a", "grow", "b"])
    records = [a.record for a in answers(rows, memory_gib=0.5)]
    assert [r["status"] for r in records] == ["ok", "failed", "ok"]
    assert "limits.memory_gib" in records[1]["reason"]


def test_an_image_too_large_for_the_limit_is_reported_before_it_is_tried(tmp_path: Path) -> None:
    [row] = write_images(tmp_path, ["a"])
    report = Scanner(settings(memory_gib=1e-6)).answer(row)
    assert str(report.status) == "failed"
    assert "16x16 pixels need about" in (report.reason or "")


def test_missing_and_changed_files_have_rows(tmp_path: Path) -> None:
    good, changed = write_images(tmp_path, ["good", "changed"])
    Path(changed.uri).write_bytes(Path(good.uri).read_bytes())
    gone = ManifestRow("gone", str(tmp_path / "gone.jpg"))
    text = tmp_path / "text.jpg"
    text.write_text("not an image")
    records = [a.record for a in answers([gone, changed, good, ManifestRow("text", str(text))])]
    assert [r["status"] for r in records] == ["unreadable", "failed", "ok", "unreadable"]
    assert "gone.jpg" in records[0]["reason"]
    assert "SHA-256" in records[1]["reason"]


def test_a_child_killed_from_outside_loses_nothing(tmp_path: Path) -> None:
    rows = write_images(tmp_path, [f"slow{n}" for n in range(6)])
    with supervised(settings()) as scanner:
        stream = scanner.answers(list(enumerate(rows)))
        records = [next(stream).record]
        child = scanner._child
        assert child is not None
        os.kill(child._process.pid, signal.SIGKILL)
        records += [answer.record for answer in stream]
    assert [r["status"] for r in records] == ["ok"] * 6


def test_a_child_killed_while_it_loads_is_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SABOTEUR_FOLDER", str(tmp_path))
    monkeypatch.setenv("SABOTEUR_DIES_LOADING", "2")
    rows = write_images(tmp_path, ["a"])
    assert [a.record["status"] for a in answers(rows)] == ["ok"]
    monkeypatch.setenv("SABOTEUR_DIES_LOADING", "100")
    with pytest.raises(UserError, match="does not start: the worker process was killed by SIGKILL"):
        answers(rows)


def test_detectors_that_cannot_load_are_a_clear_error(tmp_path: Path) -> None:
    rows = write_images(tmp_path, ["a"])
    with (
        supervised(ScanSettings(detectors=("tests.nowhere:Nobody",))) as scanner,
        pytest.raises(UserError, match=r"tests\.nowhere"),
    ):
        list(scanner.answers([(0, rows[0])]))


def test_the_child_leaves_when_its_parent_is_gone(tmp_path: Path) -> None:
    rows = write_images(tmp_path, ["a"])
    scanner = supervised(settings())
    list(scanner.answers([(0, rows[0])]))
    child = scanner._child
    assert child is not None
    child._connection.close()
    assert child._process.wait(timeout=30) == 0
