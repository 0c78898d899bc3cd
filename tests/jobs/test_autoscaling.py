"""A cluster whose head does not work, and that starts nodes for a pool that a job states."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.jobs.heads import running_head
from tests.jobs.runs import make_archive, scan_arguments, start, statuses
from tests.patience import PATIENCE_SECONDS

pytestmark = [pytest.mark.ray, pytest.mark.slow]


def test_a_scan_has_nodes_started_and_leaves_the_head_alone(tmp_path: Path) -> None:
    ids = ["a", "b", "c", "d", "e"]
    arguments = scan_arguments(make_archive(tmp_path, ids), tmp_path / "run")
    with running_head(cpus=0, nodes=1, node_cpus=3) as head:
        job = start(
            "jobs.scan", *arguments, "--pool.wait_seconds", str(PATIENCE_SECONDS),
            env={"RAY_ADDRESS": head.address},
        )  # fmt: skip
        said, _ = job.communicate(timeout=PATIENCE_SECONDS)
    assert job.returncode == 0, said
    assert "waiting for nodes: 0 of 3 CPUs and 0 of 0 GPUs are up" in said
    assert statuses(tmp_path / "run") == dict.fromkeys(ids, "ok")
