"""Ray heads that run on their own, as on a cluster, for jobs in other processes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
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


_HEAD_TYPE = "ray.head.default"  # Ray's imitation of a cloud knows no other
_HEAD_ID = "f" * 51 + "00000"


def scaling(folder: Path, port: int, nodes: int, cpus: int) -> tuple[list[str], dict[str, str]]:
    """Options and environment of a head that starts up to ``nodes`` nodes, here, when asked to.

    It is Ray's own autoscaler; its imitation of a cloud starts processes in place of machines.
    """
    provider = "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider"
    lists = ("setup", "head_setup", "worker_setup", "initialization")
    config = {
        "cluster_name": "test",
        "max_workers": nodes,
        "provider": {
            "type": "external",
            "module": provider,
            "launch_multiple": True,
            "disable_node_updaters": True,
            "head_node_id": _HEAD_ID,
            "gcs_address": f"127.0.0.1:{port}",
        },
        "auth": {},
        "available_node_types": {
            _HEAD_TYPE: {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
            "cpu": {
                "resources": {"CPU": cpus, "object_store_memory": 100_000_000},
                "node_config": {},
                "max_workers": nodes,
            },
        },
        "head_node_type": _HEAD_TYPE,
        "file_mounts": {},
        "cluster_synced_files": [],
        **{f"{name}_commands": [] for name in lists},
        "head_start_ray_commands": [],
        "worker_start_ray_commands": [],
    }
    file = folder / "cluster.json"
    file.write_text(json.dumps(config))
    env = {
        "RAY_enable_autoscaler_v2": "1",  # as `ray up` and KubeRay have it
        "RAY_NODE_TYPE_NAME": _HEAD_TYPE,
        "RAY_CLOUD_INSTANCE_ID": _HEAD_ID,
        "RAY_OVERRIDE_NODE_ID_FOR_TESTING": _HEAD_ID,
        "RAY_FAKE_CLUSTER": "1",
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
    }
    return [f"--autoscaling-config={file}"], env


@contextmanager
def running_head(
    cpus: int,
    env: dict[str, str] | None = None,
    nodes: int = 0,
    node_cpus: int = 0,
    token: str | None = None,
) -> Iterator[Head]:
    """A head that takes jobs; its processes and their files go at the end.

    With ``nodes`` it starts as many, when it is asked to. ``token`` is the one that it asks for,
    where ``env`` has it ask.
    """
    folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # Ray's sockets want a short path
    port, dashboard, metrics = free_port(), free_port(), free_port()
    command = [str(BIN / "ray"), "start", "--head", "--block", f"--num-cpus={cpus}"]
    command += ["--node-ip-address=127.0.0.1", "--dashboard-host=127.0.0.1"]
    command += [f"--port={port}", f"--dashboard-port={dashboard}", f"--temp-dir={folder}"]
    command += [f"--dashboard-agent-listen-port={free_port()}", f"--metrics-export-port={metrics}"]
    command += ["--object-store-memory=200000000", "--disable-usage-stats"]
    if nodes:
        options, more = scaling(Path(folder), port, nodes, node_cpus)
        command, env = [*command, *options], {**more, **(env or {})}
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
        while not takes_jobs(head.jobs, token):
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
        if nodes:
            end_those_of(folder)
        shutil.rmtree(folder, ignore_errors=True)


def end_those_of(folder: str) -> None:
    """What is left of a session: nodes that a cluster has started outlive their head."""
    own = [
        p for p in psutil.process_iter(["cmdline"]) if folder in " ".join(p.info["cmdline"] or ())
    ]
    for process in own:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(own, timeout=30)


def takes_jobs(address: str, token: str | None = None) -> bool:
    """Whether one could be sent there: the server is up, and the agent that starts jobs too."""
    headers = {"Authorization": f"Bearer {token}"} if token else None
    try:
        JobSubmissionClient(address, headers=headers).submit_job(entrypoint="true")
    except (ConnectionError, RuntimeError):
        return False
    return True
