"""A scan whose driver or workers are killed loses nothing and doubles nothing."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from tests.conftest import ROOT
from tests.jobs.runs import (
    make_archive,
    map_rows,
    report_rows,
    scan_arguments,
    start,
    statuses,
)
from tests.patience import PATIENCE_SECONDS, until

pytestmark = [pytest.mark.ray, pytest.mark.faults]

IMAGES = 300
ROUNDS = int(os.environ.get("FAULT_ROUNDS", "1"))
"""How often what is drawn at random is drawn; `make faults` sets more."""


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Images that take a while each, so that a kill finds them at work."""
    folder = tmp_path_factory.mktemp("archive")
    return make_archive(folder, [f"slow{n:03d}" for n in range(IMAGES)])


@pytest.fixture(scope="module")
def undisturbed(archive: str) -> Path:
    """The same scan left alone."""
    output = Path(archive).parent / "undisturbed"
    process = start("jobs.scan", *scan_arguments(archive, output))
    out, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, out
    return output


def wait_for_shards(output: Path, count: int, process: subprocess.Popen[str]) -> None:
    """Until that many shards are committed or the job has ended."""
    end = time.monotonic() + PATIENCE_SECONDS
    while len(list(output.glob("report/*.parquet"))) < count and process.poll() is None:
        if time.monotonic() > end:
            process.kill()  # left alone it would disturb the tests after this one
            pytest.fail(process.communicate()[0])
        time.sleep(0.05)


def kill_tree(process: subprocess.Popen[str]) -> None:
    """SIGKILL to the driver; what Ray leaves behind ends by itself."""
    process.send_signal(signal.SIGKILL)
    process.communicate()


@pytest.mark.parametrize("seed", range(1, 1 + ROUNDS))
def test_a_driver_killed_at_random_moments_loses_nothing(
    archive: str, undisturbed: Path, seed: int
) -> None:
    output = Path(archive).parent / f"killed-at-random-{seed}"
    rng = random.Random(seed)
    done = 0
    for _ in range(5):
        process = start("jobs.scan", *scan_arguments(archive, output))
        wait_for_shards(output, done + rng.randint(1, 3), process)
        time.sleep(rng.random())
        kill_tree(process)
        done = len(list(output.glob("report/*.parquet")))
    assert 0 < done < IMAGES // 4
    process = start("jobs.scan", *scan_arguments(archive, output))
    out, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, out
    assert report_rows(output) == report_rows(undisturbed)
    assert map_rows(output) == map_rows(undisturbed)
    assert not list(output.rglob(".tmp*"))


def test_a_stopped_job_says_so_and_can_go_on(archive: str, undisturbed: Path) -> None:
    output = Path(archive).parent / "stopped"
    process = start("jobs.scan", *scan_arguments(archive, output))
    wait_for_shards(output, 2, process)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode != 0
    assert "Traceback" not in out
    assert not (output / "lease.json").exists()
    process = start("jobs.scan", *scan_arguments(archive, output))
    out, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, out
    assert report_rows(output) == report_rows(undisturbed)


def workers(process: subprocess.Popen[str], words: str) -> list[psutil.Process]:
    """Processes below the driver whose command line holds the words."""
    found = []
    for child in psutil.Process(process.pid).children(recursive=True):
        try:
            if words in " ".join(child.cmdline()):
                found.append(child)
        except psutil.NoSuchProcess:
            continue
    return found


@pytest.mark.parametrize("seed", range(1, 1 + ROUNDS))
@pytest.mark.parametrize("words", ["forensics.worker", "ray::MapWorker"])
def test_workers_killed_at_random_lose_nothing(
    archive: str, undisturbed: Path, words: str, seed: int
) -> None:
    output = Path(archive).parent / f"killed-{words.partition('.')[0].replace(':', '-')}-{seed}"
    rng = random.Random(seed)
    process = start("jobs.scan", *scan_arguments(archive, output))
    for shards in sorted(rng.sample(range(IMAGES // 4 - 10), 3)):
        wait_for_shards(output, shards, process)
        time.sleep(rng.random())
        victims = until(lambda: workers(process, words), process)
        os.kill(rng.choice(victims).pid, signal.SIGKILL)
    out, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, out
    assert report_rows(output) == report_rows(undisturbed)
    assert map_rows(output) == map_rows(undisturbed)


JUMPY = """
import os, time
real, mark = time.time, os.environ["CLOCK_MARK"]
def jumpy():
    try:
        with open(mark) as file:
            jump = float(file.read() or 0)
    except FileNotFoundError:
        return real()
    if jump:
        open(f"{mark}.{os.getpid()}", "w").close()
    return real() + jump
time.time = jumpy
"""


@pytest.mark.parametrize("jump", [-7200, 7200])
def test_a_clock_that_jumps_under_a_scan_changes_nothing(
    archive: str, undisturbed: Path, jump: int
) -> None:
    """Python's clock, of the driver, the actors and their children: hours off and back again."""
    output = Path(archive).parent / f"clock{jump}"
    site, mark = Path(archive).parent / "site", Path(archive).parent / f"mark{jump}"
    site.mkdir(exist_ok=True)
    (site / "sitecustomize.py").write_text(JUMPY)
    env = {"PYTHONPATH": f"{site}{os.pathsep}{ROOT}", "CLOCK_MARK": str(mark)}
    process = start("jobs.scan", *scan_arguments(archive, output), env=env)
    wait_for_shards(output, 3, process)
    mark.write_text(str(jump))
    seen = {p.pid for p in [psutil.Process(process.pid), *workers(process, "ray::MapWorker")]}
    until(lambda: all(mark.with_name(f"{mark.name}.{pid}").exists() for pid in seen), process)
    wait_for_shards(output, 20, process)
    mark.unlink()
    out, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, out
    assert report_rows(output) == report_rows(undisturbed)
    assert map_rows(output) == map_rows(undisturbed)


def test_an_image_that_always_kills_its_worker_costs_one_row(tmp_path: Path) -> None:
    ids = [f"image{n}" for n in range(9)]
    manifest = make_archive(tmp_path, [*ids[:4], "kill", *ids[4:]])
    process = start("jobs.scan", *scan_arguments(manifest, tmp_path / "run"))
    out, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, out
    assert statuses(tmp_path / "run") == {**dict.fromkeys(ids, "ok"), "kill": "failed"}
    assert "failed 1" in out


def test_no_worker_outlives_a_killed_driver(archive: str) -> None:
    output = Path(archive).parent / "orphans"
    process = start("jobs.scan", *scan_arguments(archive, output))
    wait_for_shards(output, 1, process)
    ours = workers(process, "forensics.worker") + workers(process, "ray::MapWorker")
    assert len(ours) == 4
    kill_tree(process)
    _, alive = psutil.wait_procs(ours, timeout=PATIENCE_SECONDS)
    assert not alive
