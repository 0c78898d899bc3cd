"""Lines in a log, a bar on a terminal."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable

import pytest

from jobs.progress import Progress

Lines = Callable[[], list[str]]


class Clock:
    """Time that passes when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of `Progress`."""
    clock = Clock()
    monkeypatch.setattr("jobs.progress.time.monotonic", clock.monotonic)
    return clock


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> Lines:
    """What was printed since the last call."""

    def read() -> list[str]:
        captured = capsys.readouterr()
        assert captured.err == ""
        return captured.out.splitlines()

    return read


def test_a_line_every_ten_seconds_and_one_at_the_end(clock: Clock, lines: Lines) -> None:
    with Progress(total=100) as progress:
        for _ in range(45):
            clock.now += 1
            progress.add(2)
    assert lines() == [
        "20/100 images, 2.00/s, 40 s left",
        "40/100 images, 2.00/s, 30 s left",
        "60/100 images, 2.00/s, 20 s left",
        "80/100 images, 2.00/s, 10 s left",
        "90/100 images, 2.00/s, 5 s left",
    ]


def test_outcomes_are_counted_and_those_that_did_not_occur_left_out(
    clock: Clock, lines: Lines
) -> None:
    with Progress(total=8) as progress:
        clock.now += 4
        progress.add(4, {"ok": 3, "failed": 1, "timeout": 0})
        assert lines() == []
        clock.now += 12
        progress.add(4, {"ok": 4})
        assert lines() == ["8/8 images, 0.50/s, failed 1, ok 7"]
    assert progress.counts["ok"] == 7
    assert lines() == ["8/8 images, 0.50/s, failed 1, ok 7"]


def test_what_was_done_before_counts_as_done_but_not_as_speed(clock: Clock, lines: Lines) -> None:
    with Progress(total=100, done=60) as progress:
        clock.now += 10
        progress.add(10)
        assert progress.rate == 1
    assert lines() == ["70/100 images, 1.00/s, 30 s left"] * 2


def test_an_unknown_total_has_no_end_to_expect(clock: Clock, lines: Lines) -> None:
    with Progress(unit="files") as progress:
        clock.now += 20
        progress.add(50)
    assert lines() == ["50 files, 2.50/s"] * 2


def test_nothing_to_do_divides_by_nothing(clock: Clock, lines: Lines) -> None:
    with Progress(total=0):
        pass
    assert lines() == ["0/0 images, 0.00/s"]
    with Progress(total=5):
        clock.now += 3
    assert lines() == ["0/5 images, 0.00/s"]  # and no time left, as nobody can tell


def test_the_last_line_is_said_when_the_job_fails(clock: Clock, lines: Lines) -> None:
    def fails() -> None:
        with Progress(total=3) as progress:
            clock.now += 1
            progress.add(1)
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert lines() == ["1/3 images, 1.00/s, 2 s left"]


def test_a_terminal_gets_a_bar(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with Progress(total=8, done=2) as progress:
        progress.add(3, {"ok": 2, "failed": 1})
        progress.add(3, {"ok": 3})
    last = terminal.getvalue().split("\r")[-1]
    assert "100%" in last
    assert "8/8" in last
    assert "failed=1" in last
    assert "ok=5" in last
    assert capsys.readouterr().out == ""
