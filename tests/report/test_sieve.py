"""What the sieve keeps off a page cannot belong on it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from forensics.calibration.build import calibrate, collect
from forensics.report import sieve as module
from forensics.report.build import row_marks, row_score
from forensics.report.page import worst_first
from forensics.report.sieve import Sieve
from forensics.schema import report_schema
from tests.calibration.runs import pristine, scored_run

SCHEMA = report_schema({"prnu": {}, "trufor": {}}, calibrated=True)
STATUSES = ["ok", "failed", "not_applicable", "unreadable"]


def key(record: dict[str, Any]) -> tuple[float, bool, float, int, str]:
    share, _ = row_marks(record, ("prnu", "trufor"))
    score = row_score(record, ("prnu", "trufor"))
    return worst_first(score, record["status"], record["image_id"], share)


def tables(records: list[dict[str, Any]], size: int) -> Iterator[pa.Table]:
    for start in range(0, len(records), size):
        yield pa.Table.from_pylist(records[start : start + size], SCHEMA)


def drawn(seed: int, marked: bool, count: int = 600) -> list[dict[str, Any]]:
    """Records of which many are alike in all but their names."""
    rng = random.Random(seed)

    def finding() -> dict[str, Any] | None:
        if rng.random() < 0.2:
            return None
        mark = marked and rng.random() < 0.8
        return {
            "status": "ok",
            "score": rng.choice([None, 0.0, 0.2, 0.5, rng.random()]),
            "pristine_higher": rng.choice([0.01, 0.5]) if mark else None,
            "flagged": rng.random() < 0.3 if mark else None,
        }

    ids = rng.sample(range(10_000), count)
    return [
        {
            "image_id": f"é{n}" if n % 7 else f"{n}",
            "status": rng.choice(STATUSES),
            "prnu": finding(),
            "trufor": finding(),
        }
        for n in ids
    ]


@pytest.fixture(autouse=True)
def small_slack(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SLACK", 5)


@pytest.mark.parametrize("marked", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_the_worst_pass_and_most_others_do_not(seed: int, marked: bool) -> None:
    records = drawn(seed, marked)
    sieve = Sieve(20, ("prnu", "trufor"))
    passed = []
    for table in tables(records, 37):
        passed += table.take(pa.array(sieve(table))).to_pylist()
    ids = {record["image_id"] for record in passed}
    assert {record["image_id"] for record in sorted(records, key=key)[:20]} <= ids
    assert len(passed) < 250
    expected = sum(row_marks(record, ("prnu", "trufor"))[1] for record in records)
    assert sieve.flagged == expected


def test_a_calibration_marks_as_it_marks_records(tmp_path: Path) -> None:
    first = scored_run(tmp_path, pristine([n / 100 for n in range(99)]))
    calibration = calibrate(first, collect(first), 0.3)
    schema = report_schema({"saboteur": {}, "prnu": {}})
    rng = random.Random(0)
    records = [
        {
            "image_id": f"{n}",
            "status": "ok",
            "saboteur": rng.choice([None, {"score": None}, {"score": rng.random()}]),
            "prnu": {"score": rng.random()},
        }
        for n in range(400)
    ]
    marked = [calibration.marked(record) for record in records]
    sieve = Sieve(20, ("saboteur", "prnu"), calibration)
    passed: set[str] = set()
    for start in range(0, 400, 50):
        table = pa.Table.from_pylist(records[start : start + 50], schema)
        passed |= set(table["image_id"].take(pa.array(sieve(table))).to_pylist())
    names = ("saboteur", "prnu")

    def place(record: dict[str, Any]) -> tuple[float, bool, float, int, str]:
        share, _ = row_marks(record, names)
        return worst_first(row_score(record, names), "ok", record["image_id"], share)

    assert {record["image_id"] for record in sorted(marked, key=place)[:20]} <= passed
    assert len(passed) < 200
    assert sieve.flagged == sum(row_marks(record, names)[1] for record in marked) > 0


def test_alike_rows_pass_by_their_names() -> None:
    records = [{"image_id": f"{n:04d}", "status": "not_applicable"} for n in range(500)]
    sieve = Sieve(10, ("prnu", "trufor"))
    passed = [len(sieve(table)) for table in tables(records, 50)]
    assert passed == [50, *[0] * 9]
