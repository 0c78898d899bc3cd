"""Ray heads that run on their own, as on a cluster, for jobs in other processes."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ray.job_submission import JobSubmissionClient

from tests.patience import PATIENCE_SECONDS

BIN = Path(sys.executable).parent
ENV = {**os.environ, "RAY_AUTH_MODE": "disabled", "PATH": f"{BIN}:{os.environ['PATH']}"}


@dataclass(frozen=True)
class Head:
    """A head node on loopback."""

    address: str  # for ray.init
    jobs: str  # URL for ray job submit
    folder: Path  # of Ray's temporary files
    metrics_port: int


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running_head(cpus: int, env: dict[str, str] | None = None) -> Iterator[Head]:
    """A head that takes jobs; its processes and their files go at the end."""
    folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # Ray's sockets want a short path
    port, dashboard, metrics = free_port(), free_port(), free_port()
    command = [str(BIN / "ray"), "start", "--head", "--block", f"--num-cpus={cpus}"]
    command += ["--node-ip-address=127.0.0.1", "--dashboard-host=127.0.0.1"]
    command += [f"--port={port}", f"--dashboard-port={dashboard}", f"--temp-dir={folder}"]
    command += [f"--dashboard-agent-listen-port={free_port()}", f"--metrics-export-port={metrics}"]
    command += ["--object-store-memory=200000000", "--disable-usage-stats"]
    at_once = {"RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0"}  # else the end takes half a minute
    process = subprocess.Popen(
        command,
        env={**ENV, **at_once, **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    head = Head(f"127.0.0.1:{port}", f"http://127.0.0.1:{dashboard}", Path(folder), metrics)
    try:
        end = time.monotonic() + PATIENCE_SECONDS
        while not takes_jobs(head.jobs):
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < end, "the head did not come up"
            time.sleep(0.5)
        yield head
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
        shutil.rmtree(folder, ignore_errors=True)


def takes_jobs(address: str) -> bool:
    """Whether one could be sent there: the server is up, and the agent that starts jobs too."""
    try:
        JobSubmissionClient(address).submit_job(entrypoint="true")
    except (ConnectionError, RuntimeError):
        return False
    return True
