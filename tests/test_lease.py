"""One writer per run."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from forensics import lease as module
from forensics.lease import Lease, LeaseLost
from forensics.records import UserError
from tests.patience import until

HOLD = """
import sys, time
from forensics.lease import Lease
with Lease(sys.argv[1]):
    print("held", flush=True)
    time.sleep(600)
"""


def holder(folder: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_job_is_refused_until_the_first_ends(tmp_path: Path) -> None:
    with Lease(str(tmp_path)):
        with pytest.raises(UserError, match=f"process {os.getpid()} on"), Lease(str(tmp_path)):
            pass
        assert (tmp_path / "lease.json").exists()
    assert not (tmp_path / "lease.json").exists()
    with Lease(str(tmp_path)):
        pass


def test_a_killed_job_is_taken_over_at_once(tmp_path: Path) -> None:
    process = holder(tmp_path)
    with pytest.raises(UserError, match=f"process {process.pid}"), Lease(str(tmp_path)):
        pass
    process.send_signal(signal.SIGKILL)
    process.communicate()
    with Lease(str(tmp_path)) as lease:
        lease.check()


def other_machine(heartbeat: float, **changes: object) -> str:
    return json.dumps(
        {
            "token": "x",
            "host": "h",
            "boot": "b",
            "processes": "pid:[1]",
            "pid": 1,
            "pid_started": "1",
            "heartbeat": heartbeat,
            **changes,
        }
    )


@pytest.mark.parametrize("part", ["host", "boot", "processes"])
def test_a_process_is_not_looked_for_where_it_does_not_run(tmp_path: Path, part: str) -> None:
    """Containers have pids of their own, on one machine and one boot."""
    here = {**module._machine(), part: "another", "pid": 2**22 + 1, "pid_started": "5"}
    (tmp_path / "lease.json").write_text(other_machine(time.time(), **here))
    with pytest.raises(UserError, match="process 4194305"), Lease(str(tmp_path)):
        pass


def test_where_the_system_tells_nothing_a_living_job_is_not_taken_for_dead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unknown = {"host": "h", "boot": "", "processes": ""}
    monkeypatch.setattr(module, "_machine", lambda: unknown)
    (tmp_path / "lease.json").write_text(
        other_machine(time.time(), **unknown, pid=2**22 + 1, pid_started="")
    )
    with pytest.raises(UserError, match="is being written by another job"), Lease(str(tmp_path)):
        pass


DEAD = {"pid": 2**22 + 1, "pid_started": "5"}


def dead_lease(folder: Path) -> None:
    """That of a killed process of this machine."""
    text = other_machine(time.time(), **{**module._machine(), **DEAD})
    (folder / "lease.json").write_text(text)


def test_of_two_that_find_a_dead_job_the_second_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead_lease(tmp_path)
    first, alive = Lease(str(tmp_path)), module._alive

    def first_is_quicker(uri: str, held: dict) -> bool:
        monkeypatch.setattr(module, "_alive", alive)
        found = alive(uri, held)
        first.__enter__()
        return found

    monkeypatch.setattr(module, "_alive", first_is_quicker)
    with pytest.raises(UserError, match="at this very moment"), Lease(str(tmp_path)):
        pass
    held = json.loads((tmp_path / "lease.json").read_text())
    assert held["token"] == first._owner["token"]
    first.__exit__(None, None, None)
    assert not list(tmp_path.iterdir())


def test_of_many_that_find_a_dead_job_at_once_one_gets_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead_lease(tmp_path)
    leases, barrier, alive = (
        [Lease(str(tmp_path)) for _ in range(8)],
        threading.Barrier(8),
        (module._alive),
    )

    def at_once(uri: str, held: dict) -> bool:
        found = alive(uri, held)
        if held["pid"] == DEAD["pid"]:
            barrier.wait()
        return found

    monkeypatch.setattr(module, "_alive", at_once)
    entered: list[Lease] = []

    def enter(lease: Lease) -> None:
        with contextlib.suppress(UserError):
            entered.append(lease.__enter__())

    threads = [threading.Thread(target=enter, args=(lease,)) for lease in leases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    [held] = entered
    held.check()
    held.__exit__(None, None, None)
    assert not list(tmp_path.iterdir())


def test_a_job_killed_while_it_takes_over_is_taken_over_itself(tmp_path: Path) -> None:
    dead_lease(tmp_path)
    (tmp_path / "lease.json").rename(tmp_path / "lease.json.x")
    dead_lease(tmp_path)
    with Lease(str(tmp_path)) as lease:
        lease.check()
        assert [path.name for path in tmp_path.iterdir()] == ["lease.json"]


def test_a_lease_that_was_taken_over_is_not_deleted(tmp_path: Path) -> None:
    """Even where no beat has noticed it."""
    with Lease(str(tmp_path)):
        (tmp_path / "lease.json").write_text(other_machine(time.time()))
    assert json.loads((tmp_path / "lease.json").read_text())["host"] == "h"


def test_whether_a_run_is_free_is_told_without_a_trace(tmp_path: Path) -> None:
    assert module.refused(str(tmp_path / "run")) is None
    assert not (tmp_path / "run").exists()
    with Lease(str(tmp_path)):
        text = (tmp_path / "lease.json").read_bytes()
        assert f"process {os.getpid()}" in str(module.refused(str(tmp_path)))
        assert (tmp_path / "lease.json").read_bytes() == text
    dead_lease(tmp_path)
    assert module.refused(str(tmp_path)) is None


def test_another_machine_is_judged_by_its_heartbeat(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HEARTBEAT_SECONDS", 0.05)
    path = tmp_path / "lease.json"
    path.write_text(other_machine(time.time() - 5))
    with pytest.raises(UserError, match="process 1 on h"), Lease(str(tmp_path)):
        pass
    path.write_text(other_machine(time.time() - module.STALE_SECONDS - 1))
    with Lease(str(tmp_path)):
        pass


@pytest.mark.parametrize("jump", [-3600, 3600])
def test_a_clock_that_jumps_makes_no_living_job_dead_and_no_dead_one_alive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    monkeypatch.setattr(module, "HEARTBEAT_SECONDS", 1.0)
    path, stop = tmp_path / "lease.json", threading.Event()

    def beat() -> None:  # the other machine, an hour off
        while not stop.wait(0.1):
            path.write_text(other_machine(time.time() + jump))

    path.write_text(other_machine(time.time() + jump))
    other = threading.Thread(target=beat)
    other.start()
    try:
        with pytest.raises(UserError, match="process 1 on h"), Lease(str(tmp_path)):
            pass
    finally:
        stop.set()
        other.join()
    with Lease(str(tmp_path)) as lease:
        lease.check()


def test_a_job_whose_run_was_taken_over_notices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HEARTBEAT_SECONDS", 0.05)
    path = tmp_path / "lease.json"
    with Lease(str(tmp_path)) as lease:
        before = json.loads(path.read_text())["heartbeat"]
        until(lambda: json.loads(path.read_text())["heartbeat"] > before)

        def other_beats() -> None:
            path.write_text(other_machine(time.time()))
            lease.check()

        with pytest.raises(LeaseLost, match="taken over"):
            until(other_beats)
    assert json.loads(path.read_text())["host"] == "h"  # the other's lease is left alone


@pytest.mark.parametrize("text", ["{half", "[]", '{"token": "../x"}'])
def test_a_damaged_lease_file_is_taken_over(tmp_path: Path, text: str) -> None:
    (tmp_path / "lease.json").write_text(text)
    with Lease(str(tmp_path)) as lease:
        lease.check()
