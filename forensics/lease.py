"""One writer per run: a lease beside the outputs, with its owner and a heartbeat.

A second job on the same output refuses while the first is alive. A lease whose heartbeat stopped,
or whose process is known to be dead, is taken over, so a killed job can be started again at once.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from forensics import storage
from forensics.records import UserError

HEARTBEAT_SECONDS = 10.0
STALE_SECONDS = 60.0
_WATCHED_BEATS = 2.5


class LeaseLost(UserError):
    """Another job has taken the run over; this one must stop writing."""


class Lease:
    """Holds ``lease.json`` of a run folder, as a context manager.

    Raises `UserError` on entry if another job holds it.
    """

    def __init__(self, run_uri: str) -> None:
        self._run_uri = run_uri
        self._uri = storage.join(run_uri, "lease.json")
        self._owner = {
            "token": secrets.token_hex(8),
            "host": socket.gethostname(),
            "boot": _boot_id(),
            "pid": os.getpid(),
            "pid_started": _pid_started(os.getpid()),
        }
        self._stop = threading.Event()
        self._lost = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="lease", daemon=True)

    def __enter__(self) -> Lease:
        if not storage.write_if_absent(self._uri, self._content()):
            held = self._read()
            if held is not None and self._alive(held):
                raise UserError(
                    f"{self._run_uri} is being written by another job (process {held['pid']} on "
                    f"{held['host']}). Wait for it, stop it, or choose another output folder; a "
                    f"dead job's lease ends by itself after {STALE_SECONDS:.0f} s."
                )
            storage.write(self._uri, self._content())
            if (now := self._read()) is None or now["token"] != self._owner["token"]:
                raise UserError(f"{self._run_uri} was taken by another job at this very moment")
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()
        if not self._lost.is_set() and not isinstance(error, storage.StorageError):
            storage.delete(self._uri)

    def check(self) -> None:
        """Raise `LeaseLost` if another job holds the run now."""
        if self._lost.is_set():
            raise LeaseLost(f"{self._run_uri} was taken over by another job; this one has stopped")

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT_SECONDS):
            try:
                held = self._read()
                if held is None or held["token"] != self._owner["token"]:
                    self._lost.set()
                    return
                storage.write(self._uri, self._content())
            except storage.StorageError:
                continue  # storage is away: the job itself finds out, or the next beat succeeds

    def _alive(self, held: dict[str, Any]) -> bool:
        if held["host"] == socket.gethostname() and held["boot"] == _boot_id():
            started = _pid_started(held["pid"])
            return bool(started) and started == held["pid_started"]
        if 0 <= time.time() - held["heartbeat"] < STALE_SECONDS:
            return True
        # By this clock it is dead. But clocks differ and jump, so it is watched for some beats.
        end = time.monotonic() + _WATCHED_BEATS * HEARTBEAT_SECONDS
        while time.monotonic() < end:
            time.sleep(HEARTBEAT_SECONDS / 10)
            if (now := self._read()) != held:
                return now is not None
        return False

    def _read(self) -> dict[str, Any] | None:
        try:
            held: dict[str, Any] = json.loads(storage.read(self._uri))
        except (storage.NotFound, ValueError):
            return None
        return held

    def _content(self) -> bytes:
        return json.dumps({**self._owner, "heartbeat": time.time()}).encode()


def _boot_id() -> str:
    """Tells one boot of one kernel from another; empty where the system has none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _pid_started(pid: int) -> str:
    """Start time of a running process (kernel ticks), empty when there is none: pids are reused."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19]
    except (OSError, IndexError):
        return ""
