"""Runs of jobs in tests: settings, subprocesses, and what a report says."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil

from forensics.manifest import write_manifest
from forensics.run import load_run
from jobs.cluster import PoolSettings
from jobs.scan import ScanJob
from jobs.tracking import TrackingSettings
from tests.conftest import ROOT
from tests.images import write_images
from tests.saboteur import NAME


def make_archive(folder: Path, ids: list[str]) -> str:
    """Images that do what their ids say; returns the manifest's path."""
    manifest = folder / "archive.parquet"
    write_manifest(write_images(folder / "images", ids), str(manifest))
    return str(manifest)


def scan_job(manifest: str, output: Path | str, **changes: Any) -> ScanJob:
    """A small scan by the saboteur."""
    values: dict[str, Any] = {
        "manifest": manifest,
        "output": str(output),
        "detectors": (NAME,),
        "shard_rows": 4,
        "pool": PoolSettings(workers=2),
        "tracking": TrackingSettings(uri=f"sqlite:///{Path(manifest).parent / 'mlflow.db'}"),
        **changes,
    }
    return ScanJob(**values)


def start(module: str, *arguments: str, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
    """A job as users start it; its output is one stream of lines."""
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        env={**os.environ, "RAY_AUTH_MODE": "disabled", "PYTHONUNBUFFERED": "1", **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def cut_power(process: subprocess.Popen[str]) -> None:
    """SIGKILL to a job and to all that it has started; returns when nothing of it is left."""
    driver = psutil.Process(process.pid)
    tree = [driver, *driver.children(recursive=True)]
    for one in tree:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()
    process.communicate()
    _, alive = psutil.wait_procs(tree[1:], timeout=30)
    assert not alive


def scan_arguments(manifest: str, output: Path | str, **changes: str) -> list[str]:
    """The same small scan as a command line."""
    values = {
        "manifest": manifest,
        "output": str(output),
        "detectors": NAME,
        "shard_rows": "4",
        "pool.workers": "2",
        **changes,
    }
    return [word for name, value in values.items() for word in (f"--{name}", value)]


def report_rows(output: Path | str) -> list[dict[str, Any]]:
    """All report rows of a run in manifest order, without what differs between equal runs."""
    run = load_run(str(output))
    rows = [row for shard in range(run.shards) for row in run.report(shard).to_pylist()]
    for row in rows:
        del row["seconds"]
        for name in run.findings:
            if row[name] is not None:
                del row[name]["seconds"]
    return rows


def map_rows(output: Path | str) -> list[dict[str, Any]]:
    """All map rows of a run in manifest order."""
    run = load_run(str(output))
    return [row for shard in range(run.shards) for row in run.maps(shard).to_pylist()]


def statuses(output: Path | str) -> dict[str, str]:
    """Status by image id."""
    return {row["image_id"]: row["status"] for row in report_rows(output)}
