"""Jobs sent to a Ray head that runs on its own, as ``ray job submit`` sends them to a cluster."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from ray.job_submission import JobStatus, JobSubmissionClient

from tests.conftest import ROOT
from tests.jobs.heads import BIN, ENV, running_head
from tests.jobs.photos import camera_photos, manifest_of
from tests.jobs.runs import make_archive, report_rows, scan_arguments, statuses
from tests.jobs.trainings import words
from tests.patience import PATIENCE_SECONDS, until

pytestmark = [pytest.mark.ray, pytest.mark.slow]

Ended = subprocess.CompletedProcess[str]
LEFT_BEHIND = (".venv/lib/large.bin", "case/photo.jpg", "demo/photo.jpg", ".env", "tests/test.py")


@pytest.fixture(scope="module")
def head() -> Iterator[str]:
    """The address of a head node on loopback; ends with the module."""
    with running_head(cpus=3) as head:
        yield head.jobs


@pytest.fixture
def reports(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports name their detector, which lies in the project."""
    monkeypatch.syspath_prepend(project)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout in use: the code, an environment, data, a file of secrets."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("forensics", "jobs"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in (".gitignore", ".rayignore", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    shutil.copy(ROOT / "tests" / "saboteur.py", folder)
    for name in LEFT_BEHIND:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(bytes(1000))
    return folder


def submit(
    head: str, project: Path, name: str, *entrypoint: str
) -> subprocess.CompletedProcess[str]:
    """What the command says and how it ends."""
    command = [str(BIN / "ray"), "job", "submit", "--address", head, "--working-dir", str(project)]
    command += ["--submission-id", name, "--", *entrypoint]
    return subprocess.run(
        command, env=ENV, capture_output=True, text=True, timeout=PATIENCE_SECONDS
    )


def exit_code(head: str, name: str) -> int | None:
    """What the job itself ended with."""
    code: int | None = JobSubmissionClient(head).get_job_info(name).driver_exit_code
    return code


def arguments(manifest: str, output: Path) -> list[str]:
    return scan_arguments(manifest, output, detectors="saboteur:Saboteur")


def test_the_code_travels_and_nothing_else(head: str, project: Path) -> None:
    walk = (
        "import os; [print('has', f'{a}/{n}'[2:]) for a, _, names in os.walk('.') for n in names]"
    )
    done = submit(head, project, "look", "python", "-c", walk)
    assert done.returncode == 0, done.stdout + done.stderr
    has = {line.removeprefix("has ") for line in done.stdout.splitlines() if "has " in line}
    assert has >= {"jobs/scan.py", "forensics/report/page.html", "pyproject.toml"}
    assert any(name.endswith("residual-16.safetensors") for name in has)
    assert not has & set(LEFT_BEHIND)


@pytest.mark.usefixtures("reports")
def test_a_scan_is_followed_and_ends_with_its_own_code(
    head: str, project: Path, tmp_path: Path
) -> None:
    ids = ["a", "b", "raise", "c", "d", "e"]
    manifest = make_archive(tmp_path, ids)
    output = tmp_path / "run"
    done = submit(head, project, "scan", "python", "-m", "jobs.scan", *arguments(manifest, output))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "6/6" in done.stdout  # the progress lines of the job, in the log of whoever waits
    assert f"{output}/page.html" in JobSubmissionClient(head).get_job_logs("scan")
    assert statuses(output) == dict.fromkeys(ids, "ok") | {"raise": "failed"}
    refused = submit(
        head, project, "again", "python", "-m", "jobs.scan", *arguments(manifest, output),
        "--limits.timeout_seconds", "3",
    )  # fmt: skip
    assert refused.returncode == 1
    assert exit_code(head, "again") == 2
    assert "settings.limits.timeout_seconds" in refused.stdout


@pytest.mark.usefixtures("reports")
def test_a_stopped_scan_goes_on_with_the_same_command(
    head: str, project: Path, tmp_path: Path
) -> None:
    manifest, output = make_archive(tmp_path, [f"slow{n:02d}" for n in range(80)]), tmp_path / "run"
    command = ["python", "-m", "jobs.scan", *arguments(manifest, output)]
    client = JobSubmissionClient(head)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(submit, head, project, "first", *command)
        wait_for_a_shard(output, first)
        stopped = [str(BIN / "ray"), "job", "stop", "--address", head, "first"]
        subprocess.run(stopped, env=ENV, check=True, capture_output=True, timeout=PATIENCE_SECONDS)
        first.result()
    assert client.get_job_status("first") == JobStatus.STOPPED
    committed = len(list(output.glob("report/*.parquet")))
    assert 0 < committed < 20
    second = submit(head, project, "second", *command)
    assert second.returncode == 0, second.stdout + second.stderr
    assert len(report_rows(output)) == len(statuses(output)) == 80
    assert set(statuses(output).values()) == {"ok"}


def wait_for_a_shard(output: Path, job: Future[Ended]) -> None:
    """Until one is committed."""
    until(lambda: list(output.glob("report/*.parquet")) or job.done())
    assert not job.done(), job.result().stdout


def test_a_training_is_submitted_the_same_way(head: str, project: Path, tmp_path: Path) -> None:
    rows = camera_photos(tmp_path, cameras=2, each=2)
    settings = {
        "manifest": manifest_of(tmp_path, rows),
        "output": tmp_path / "networks",
        "tasks": "noise-2",
        "window": 40,
        "patches_per_photo": 4,
        "training.epochs": 1,
        "pool.workers": 1,
        "tracking.uri": f"sqlite:///{tmp_path / 'mlflow.db'}",
    }
    done = submit(
        head, project, "train", "python", "-m", "jobs.train_manipulation", *words(settings)
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "networks" / "residual-noise-2.safetensors").exists()
    assert "residual-noise-2: epoch 1/1" in done.stdout
