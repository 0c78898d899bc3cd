"""How often a scan's curves get a point."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from jobs import scan
from jobs.progress import Progress
from jobs.shards import ledger_row


class Points:
    """The steps at which metrics were logged."""

    def __init__(self) -> None:
        self.steps: list[int] = []

    def metrics(self, values: dict[str, float], step: int) -> None:
        self.steps.append(step)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    return now


def points(clock: list[float], seconds: float, shards: int) -> list[int]:
    """Of a scan that commits a shard every so many seconds."""
    tracker: Any = Points()
    progress = Progress(shards)
    course = scan._Course(tracker, progress)
    for shard in range(shards):
        clock[0] += seconds
        progress.add(1)
        course.add(ledger_row(shard, []))
    return tracker.steps


def test_a_short_scan_gets_a_point_every_few_seconds(clock: list[float]) -> None:
    assert points(clock, 1.0, 60) == list(range(5, 61, 5))


def test_a_scan_of_a_month_gets_no_more_than_thousands(clock: list[float]) -> None:
    steps = points(clock, 20.0, 30 * 24 * 180)
    gaps = [after - before for before, after in pairwise(steps)]
    assert gaps[0] == 1
    assert gaps == sorted(gaps)
    assert gaps[-1] * 20 == pytest.approx(0.001 * 30 * 86400, rel=0.05)
    assert len(steps) < 8000
