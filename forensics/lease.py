"""One writer per run: a lease beside the outputs, with its owner and a heartbeat.

A second job on the same output refuses while the first is alive. A lease whose heartbeat stopped,
or whose process is known to be dead, is taken over, so a killed job can be started again at once.
Of several jobs that find a dead one's lease, one may replace it: the one that writes the claim on
that lease, a file of its own.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from forensics import storage
from forensics.records import UserError

HEARTBEAT_SECONDS = 10.0
STALE_SECONDS = 60.0
_WATCHED_BEATS = 2.5
_PARTS = {"token", "host", "pid", "pid_started", "heartbeat"}


class LeaseLost(UserError):
    """Another job has taken the run over; this one must stop writing."""


class Lease:
    """Holds ``lease.json`` of a run folder, as a context manager.

    Raises `UserError` on entry if another job holds it.
    """

    def __init__(self, run_uri: str) -> None:
        self._run_uri = run_uri
        self._uri = _lease_uri(run_uri)
        self._owner = {
            "token": secrets.token_hex(8),
            **_machine(),
            "pid": os.getpid(),
            "pid_started": _pid_started(os.getpid()),
        }
        self._stop = threading.Event()
        self._lost = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="lease", daemon=True)

    def __enter__(self) -> Lease:
        if not storage.write_if_absent(self._uri, self._content()):
            held = _read(self._uri)
            if held is not None and _alive(self._uri, held):
                raise UserError(_refusal(self._run_uri, held))
            self._take_over(held)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        if not self._lost.is_set():
            with suppress(storage.StorageError):  # left there, it is a dead job's lease
                if self._is_ours(_read(self._uri)):
                    storage.delete(self._uri)

    def check(self) -> None:
        """Raise `LeaseLost` if another job holds the run now."""
        if self._lost.is_set():
            raise LeaseLost(f"{self._run_uri} was taken over by another job; this one has stopped")

    def _take_over(self, dead: dict[str, Any] | None) -> None:
        """Replace a dead job's lease (None: a file that is none), as the only one to do so.

        Who has the claim on that very lease may write, if it is still there: somebody else may have
        had the claim before.
        """
        taken = UserError(f"{self._run_uri} was taken by another job at this very moment")
        claim = f"{self._uri}.{_name(dead)}"
        if not storage.write_if_absent(claim, self._content()):
            claimed = _read(claim)
            if claimed is None or _alive(claim, claimed):
                raise taken
            storage.delete(claim)  # its owner died in the middle of this
            if not storage.write_if_absent(claim, self._content()):
                raise taken
        try:
            if _name(_read(self._uri)) != _name(dead):
                raise taken
            storage.delete(self._uri)
            if not storage.write_if_absent(self._uri, self._content()):
                raise taken  # its owner was not dead, or somebody came in between
        finally:
            storage.delete(claim)

    def _is_ours(self, held: dict[str, Any] | None) -> bool:
        return held is not None and held["token"] == self._owner["token"]

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT_SECONDS):
            try:
                if not self._is_ours(_read(self._uri)):
                    self._lost.set()
                    return
                storage.write(self._uri, self._content())
            except storage.StorageError:
                continue  # storage is away: the job itself finds out, or the next beat succeeds

    def _content(self) -> bytes:
        return json.dumps({**self._owner, "heartbeat": time.time()}).encode()


def refused(run_uri: str) -> str | None:
    """Why a job would be refused this run now; None if it would not. Changes nothing."""
    uri = _lease_uri(run_uri)
    held = _read(uri)
    return _refusal(run_uri, held) if held is not None and _alive(uri, held) else None


def _lease_uri(run_uri: str) -> str:
    return storage.join(run_uri, "lease.json")


def _refusal(run_uri: str, held: dict[str, Any]) -> str:
    return (
        f"{run_uri} is being written by another job (process {held['pid']} on {held['host']}). "
        "Wait for it, stop it, or choose another output folder; a dead job's lease ends by itself "
        f"after {STALE_SECONDS:.0f} s."
    )


def _alive(uri: str, held: dict[str, Any]) -> bool:
    """Whether the job that wrote this lease still runs."""
    here = _machine()
    if all(here.values()) and all(held.get(name) == value for name, value in here.items()):
        started = _pid_started(held["pid"])
        return bool(started) and started == held["pid_started"]
    if 0 <= time.time() - held["heartbeat"] < STALE_SECONDS:
        return True
    # By this clock it is dead. But clocks differ and jump, so it is watched for some beats.
    end = time.monotonic() + _WATCHED_BEATS * HEARTBEAT_SECONDS
    while time.monotonic() < end:
        time.sleep(HEARTBEAT_SECONDS / 10)
        if (now := _read(uri)) != held:
            return now is not None
    return False


def _read(uri: str) -> dict[str, Any] | None:
    """The lease; None where there is none, or a file that is none."""
    try:
        held = json.loads(storage.read(uri))
    except (storage.NotFound, ValueError):
        return None
    return held if isinstance(held, dict) and held.keys() >= _PARTS else None


def _name(held: dict[str, Any] | None) -> str:
    """Tells one lease from all others, in the name of the claim on it."""
    token = "" if held is None else str(held["token"])
    return token if token.isalnum() else "damaged"


def _machine() -> dict[str, str]:
    """Where a process id means the same process; empty parts where the system does not tell.

    Containers on one machine share its boot but not their processes.
    """
    try:
        processes = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        processes = ""
    return {"host": socket.gethostname(), "boot": _boot_id(), "processes": processes}


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
