"""Runs a `Scanner` in a child process that may crash, hang or grow, and still answers every row.

- A child that dies takes no row with it: the image at work is tried again alone, and only an image
  that kills the child alone, twice, becomes a ``failed`` row.
- An image past its time limit becomes a ``timeout`` row; the child is replaced.
- A child above its memory limit is replaced, and its image reported in the same way.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from forensics import schema
from forensics.limits import GIB, Limits
from forensics.records import ManifestRow, ReportRow, Status, UserError

DEATHS_ALONE = 2
"""An image is given up after the child died this often with nothing but that image to do."""

FETCH_SECONDS = 300.0
"""Longest wait for the bytes of an image; storage gives up long before."""

STARTS = 3
"""How often a child is started before it is said that it cannot be."""

LOAD_SECONDS = 600.0
"""Longest wait for a child to load its detectors."""

_HERE = str(Path(__file__).resolve().parent.parent)


@dataclass(frozen=True)
class Answer:
    """The report record and map records of one row (see `forensics.schema`)."""

    index: int
    record: dict[str, Any]
    maps: list[dict[str, Any]]
    fetch_seconds: float | None = None  # None where the child died or was ended over it


class SupervisedScanner:
    """Answers manifest rows through a child process; a context manager that ends it.

    ``settings`` are `ScanSettings` as JSON: whoever supervises needs none of the libraries that
    the settings and their detectors bring along.
    """

    def __init__(self, settings: str, limits: Limits, prefetch: int = 2) -> None:
        self._settings = settings
        self._limits = limits
        self._prefetch = prefetch
        self._child: _Child | None = None
        self.deaths = 0
        """Children so far that died or had to be ended over an image."""

    def __enter__(self) -> SupervisedScanner:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the child; the next row would start a new one."""
        if self._child is not None:
            self._child.kill()
            self._child = None

    def start(self) -> None:
        """Load the detectors now. Raises `UserError` if they cannot be loaded."""
        self._ready_child()

    @property
    def peak_bytes(self) -> int:
        """Most memory the child has held; 0 without one, or where the system does not tell."""
        return 0 if self._child is None else self._child.peak_bytes()

    @property
    def idle_bytes(self) -> int:
        """What the child held before its first image; 0 as above."""
        return 0 if self._child is None else self._child.idle_bytes

    @property
    def ahead(self) -> int:
        """Images whose bytes the child holds already, beside the one at work."""
        return 0 if self._child is None else self._child.ahead

    def answers(self, rows: Sequence[tuple[int, ManifestRow]]) -> Iterator[Answer]:
        """One answer per (index, row), in order.

        Raises `UserError` if the detectors cannot be loaded.
        """
        waiting = deque(rows)
        alone = False  # after a death the suspect is tried with nothing else in flight
        deaths_alone = 0
        while waiting:
            child = self._ready_child()
            index, row = waiting[0]
            window = 1 if alone else 1 + self._prefetch
            outcome = child.answer(list(islice(waiting, window)))
            if isinstance(outcome, Answer):
                waiting.popleft()
                alone, deaths_alone = False, 0
                yield outcome
                continue
            self.close()
            self.deaths += 1
            deaths_alone += alone and outcome.status is Status.FAILED
            if outcome.status is Status.TIMEOUT or deaths_alone >= DEATHS_ALONE:
                waiting.popleft()
                alone, deaths_alone = False, 0
                report = ReportRow(row, outcome.status, outcome.reason)
                yield Answer(index, schema.report_record(index, report), [])
            else:
                alone = True

    def _ready_child(self) -> _Child:
        """The child, started anew where there is none; a start that something kills is repeated."""
        deaths = 0
        while self._child is None:
            try:
                self._child = _Child(self._settings, self._limits)
            except _DiedAtStartError as error:
                deaths += 1
                self.deaths += 1
                if deaths == STARTS:
                    raise UserError(f"the worker does not start: {error}") from None
        return self._child


class _DiedAtStartError(Exception):
    """The child was gone before it had loaded its detectors; the message says how it ended."""


@dataclass(frozen=True)
class _Death:
    status: Status
    reason: str


class _Child:
    """One child process and what is known of the rows it was sent."""

    def __init__(self, settings: str, limits: Limits) -> None:
        self._limits = limits
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "forensics.worker", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env={**os.environ, "PYTHONPATH": os.pathsep.join([_HERE, *sys.path])},
                stdin=subprocess.DEVNULL,
            )
        self._connection = Connection(ours.detach())
        self._sent: set[int] = set()
        self._fetched: dict[int, tuple[float, float]] = {}  # when, and how long it took
        self._connection.send(("load", settings))
        reply = self._receive(time.monotonic() + LOAD_SECONDS)
        if reply is None:
            self.kill()
            raise _DiedAtStartError(self._end())
        if reply[0] == "refused":
            self.kill()
            raise UserError(reply[1])
        self.idle_bytes = self._rss()

    def answer(self, rows: Sequence[tuple[int, ManifestRow]]) -> Answer | _Death:
        """Answer to the first of the rows; the others are sent ahead so that their fetch starts."""
        for index, row in rows:
            if index not in self._sent:
                try:
                    self._connection.send(("row", index, row))
                except OSError:
                    return _Death(Status.FAILED, f"{self._end()} on this image")
                self._sent.add(index)
        head = rows[0][0]
        start = time.monotonic()
        limit = self._limits.timeout_seconds
        while True:
            fetched = self._fetched.get(head)
            deadline = start + FETCH_SECONDS if fetched is None else max(start, fetched[0]) + limit
            message = self._receive(min(deadline, time.monotonic() + 0.5))
            if message is None:
                if self._process.poll() is not None:
                    return _Death(Status.FAILED, f"{self._end()} on this image")
                if time.monotonic() >= deadline:
                    return _Death(Status.TIMEOUT, _late(fetched is not None, limit))
                if self._rss() - self.idle_bytes > self._limits.memory_gib * GIB:
                    return _Death(
                        Status.FAILED,
                        f"needed more than {self._limits.memory_gib:g} GiB of working memory "
                        "(setting limits.memory_gib)",
                    )
            elif message[0] == "fetched":
                self._fetched[message[1]] = time.monotonic(), message[2]
            else:
                self._sent.discard(head)
                _, seconds = self._fetched.pop(head)
                _, index, record, maps = message
                return Answer(index, record, maps, seconds)

    @property
    def ahead(self) -> int:
        return len(self._fetched)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self._connection.close()

    def _receive(self, deadline: float) -> tuple[Any, ...] | None:
        """Next message, or None at the deadline or when the child is gone."""
        try:
            if self._connection.poll(max(0.0, deadline - time.monotonic())):
                message: tuple[Any, ...] = self._connection.recv()
                return message
        except (EOFError, OSError):
            self._process.wait()
        return None

    def _end(self) -> str:
        """How the child ended, in words."""
        code = self._process.wait()
        if code < 0:
            return f"the worker process was killed by {signal.Signals(-code).name}"
        return f"the worker process ended with exit code {code}"

    def peak_bytes(self) -> int:
        try:
            status = Path(f"/proc/{self._process.pid}/status").read_text()
        except OSError:
            return 0
        found = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
        return int(found[1]) * 1024 if found else 0

    def _rss(self) -> int:
        """Resident memory of the child in bytes; 0 where the system does not tell."""
        try:
            pages = Path(f"/proc/{self._process.pid}/statm").read_text().split()[1]
        except (OSError, IndexError):
            return 0
        return int(pages) * os.sysconf("SC_PAGE_SIZE")


def _late(fetched: bool, limit: float) -> str:
    """Why an image is given up that takes too long."""
    if not fetched:
        return (
            f"its bytes did not arrive within {FETCH_SECONDS:g} s; check the storage, then "
            "--retry status=timeout"
        )
    return f"took longer than {limit:g} s and was stopped (setting limits.timeout_seconds)"
