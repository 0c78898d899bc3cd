"""A scan whose storage goes wrong: every row is there once afterwards, or the job says why."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from forensics import storage
from forensics.manifest import write_manifest
from tests.faulty_proxy import FaultyProxy
from tests.images import write_images
from tests.jobs.mlflow_site import mlflow_ui
from tests.jobs.runs import make_archive, report_rows, scan_arguments, start, statuses
from tests.jobs.test_s3 import put_archive, tracking
from tests.patience import PATIENCE_SECONDS, until
from tests.s3server import S3Server

pytestmark = [pytest.mark.ray, pytest.mark.faults]

ROUNDS = int(os.environ.get("FAULT_ROUNDS", "1"))
"""How often what is drawn at random is drawn; `make faults` sets more."""


def ended(process: subprocess.Popen[str], code: int) -> str:
    """What a job printed that ended with that exit code."""
    out, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == code, out
    assert "Traceback" not in out
    return out


@pytest.mark.s3
@pytest.mark.parametrize("seed", range(ROUNDS))
def test_a_server_that_refuses_delays_and_cuts_only_costs_time(
    s3_server: S3Server, tmp_path: Path, seed: int
) -> None:
    ids = [f"image{n}" for n in range(24)]
    manifest = put_archive(s3_server, f"faulty{seed}", ids)
    output = s3_server.uri(f"faulty{seed}/run")
    proxy = FaultyProxy(s3_server.endpoint, refused=0.1, slow=0.05, cut=0.1, seed=seed)
    with proxy:
        arguments = scan_arguments(manifest, output, **tracking(tmp_path))
        ended(start("jobs.scan", *arguments, env={"AWS_ENDPOINT_URL": proxy.endpoint}), 0)
    assert min(proxy.faults[name] for name in ("refused", "slow", "cut")) > 0
    rows = report_rows(output)
    assert [row["image_id"] for row in rows] == ids
    assert {row["status"] for row in rows} == {"ok"}
    assert not storage.exists(f"{output}/lease.json")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with little room."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a small file system")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(disk: Path) -> Path:
    """Take all the room that is left; the file that holds it."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    return ballast


def test_a_full_disk_stops_the_job_and_room_lets_it_go_on(small_disk: Path, tmp_path: Path) -> None:
    """MLflow's store, by default beside the output, has no room either."""
    ids = [f"slow{n}" for n in range(60)]
    manifest = make_archive(tmp_path, ids)
    arguments = scan_arguments(manifest, small_disk / "run")
    job = start("jobs.scan", *arguments, env={"MLFLOW_TRACKING_URI": ""})
    until(lambda: list(small_disk.glob("run/report/*.parquet")), job)
    ballast = fill(small_disk)
    out = ended(job, 1)
    assert re.search(rf"error: shard \d+ was not written: cannot write {small_disk}/run/", out), out
    assert "No space left on device. Make room on that disk and give the same command again" in out
    assert "what is committed stays, the same command continues" in out
    assert "lacks: " in out  # MLflow's run
    for file in small_disk.glob("run/report/*.parquet"):
        assert file.read_bytes().endswith(b"PAR1")  # what is there is whole
    ballast.unlink()
    ended(start("jobs.scan", *arguments, env={"MLFLOW_TRACKING_URI": ""}), 0)
    assert statuses(small_disk / "run") == dict.fromkeys(ids, "ok")
    assert not list(small_disk.rglob(".tmp*"))


def test_an_mlflow_server_that_dies_under_a_scan_costs_it_nothing(tmp_path: Path) -> None:
    ids = [f"slow{n}" for n in range(60)]
    manifest = make_archive(tmp_path, ids)
    with mlflow_ui(f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path / "mlflow.log") as address:
        arguments = scan_arguments(manifest, tmp_path / "run", **{"tracking.uri": address})
        impatient = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "5"}
        job = start("jobs.scan", *arguments, env=impatient)
        until(lambda: list((tmp_path / "run").glob("report/*.parquet")), job)
        job.send_signal(signal.SIGSTOP)  # so that the server's death is not the later one
    job.send_signal(signal.SIGCONT)
    out = ended(job, 0)
    assert out.count(f"warning: MLflow at {address} does not take") == 1
    assert out.count(" lacks: ") == 1
    assert statuses(tmp_path / "run") == dict.fromkeys(ids, "ok")


@pytest.mark.parametrize("place", [0.4, 1.0])  # in a column, at the end
def test_a_shard_that_was_damaged_on_disk_is_named(tmp_path: Path, place: float) -> None:
    manifest = make_archive(tmp_path, [f"image{n}" for n in range(12)])
    arguments = scan_arguments(manifest, tmp_path / "run", **tracking(tmp_path))
    ended(start("jobs.scan", *arguments), 0)
    before = report_rows(tmp_path / "run")
    shard = tmp_path / "run" / "report" / "shard-00000001.parquet"
    content = bytearray(shard.read_bytes())
    content[min(int(len(content) * place), len(content) - 1)] ^= 0x10
    shard.write_bytes(content)
    out = ended(start("jobs.scan", *arguments), 1)
    assert f"{shard} is damaged" in out
    assert "Delete it and run the scan again" in out
    shard.unlink()
    ended(start("jobs.scan", *arguments), 0)
    assert report_rows(tmp_path / "run") == before


def test_of_two_jobs_on_one_output_the_second_is_refused(tmp_path: Path) -> None:
    ids = [f"slow{n}" for n in range(60)]
    manifest = make_archive(tmp_path, ids)
    arguments = scan_arguments(manifest, tmp_path / "run", **tracking(tmp_path))
    first = start("jobs.scan", *arguments)
    wait_for_lease(tmp_path / "run", first)
    assert "is being written by another job" in ended(start("jobs.scan", *arguments), 2)
    ended(first, 0)
    assert statuses(tmp_path / "run") == dict.fromkeys(ids, "ok")


def test_a_manifest_that_changes_under_a_run_changes_nothing(tmp_path: Path) -> None:
    ids = [f"slow{n}" for n in range(40)]
    manifest = make_archive(tmp_path, ids)
    arguments = scan_arguments(manifest, tmp_path / "run", **tracking(tmp_path))
    first = start("jobs.scan", *arguments)
    until(lambda: list((tmp_path / "run").glob("report/*.parquet")), first)
    write_manifest(write_images(tmp_path / "others", ["x", "y"]), manifest)
    ended(first, 0)
    assert statuses(tmp_path / "run") == dict.fromkeys(ids, "ok")
    out = ended(start("jobs.scan", *arguments), 2)
    assert "manifest" in out


def wait_for_lease(output: Path, job: subprocess.Popen[str]) -> None:
    """Until the job holds its output."""
    until((output / "lease.json").exists, job)
