"""One writer per run."""

from __future__ import annotations

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


def other_machine(heartbeat: float) -> str:
    return json.dumps(
        {
            "token": "x",
            "host": "h",
            "boot": "b",
            "pid": 1,
            "pid_started": "1",
            "heartbeat": heartbeat,
        }
    )


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


def test_a_damaged_lease_file_is_taken_over(tmp_path: Path) -> None:
    (tmp_path / "lease.json").write_text("{half")
    with Lease(str(tmp_path)) as lease:
        lease.check()
