"""What a scan costs beyond its detectors, and whether its memory grows with the archive.

    python -m benchmarks.bench_scan
    python -m benchmarks.bench_scan --small 200 --large 2000
    python -m benchmarks.bench_scan --speedup

Scans 1-MP images with the detectors ``camera`` and ``prnu``, then runs the bare loop of the same
detectors over the same images on the same number of processes. Wall seconds hold start and end of
both. Memory (proportional set size) and processor seconds are those of the whole process tree, Ray
included, sampled twice a second; processor seconds hold on a machine that others use at the same
time. Writes benchmarks/results/scan.json.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from benchmarks.machine import machine
from forensics import manifest
from forensics.config import load
from forensics.prnu.camera_model import CameraModel, UsedImage
from forensics.prnu.fingerprint import FingerprintAccumulator
from forensics.prnu.training import pristine_sample, train
from forensics.records import ManifestRow
from forensics.scan import Scanner, ScanSettings
from forensics.synth import SimulatedCamera
from jobs.cameras import write_model

HEIGHT, WIDTH = 864, 1152
DISTINCT = 50  # images on disk; manifests name each of them many times
WORKERS = 2
SPEEDUP_SHARD = 4  # rows: small, so that the ends of the scanning part are sharp
SPEEDUP_OPTIONS = ("--shard_rows", str(SPEEDUP_SHARD), "--prnu.strategy", "sw-ss")
SPEEDUP_OPTIONS += ("--prnu.decision", "stm")
RESULT = Path(__file__).parent / "results" / "scan.json"


def prepare(folder: Path, width: int = WIDTH, height: int = HEIGHT, images: int = DISTINCT) -> None:
    """``images/000.jpg`` and so on of one simulated camera, and its camera model in ``models``."""
    camera = SimulatedCamera(seed=1, height=height, width=width)
    sums = FingerprintAccumulator()
    for number in range(8):
        sums.update(camera.flat_field(number), f"flat{number}")
    used = tuple(UsedImage(f"flat{n}", f"{n:064d}", 1) for n in range(8))
    model = CameraModel("bench", sums.compute(), sums.sigma, sums.levels, used)
    samples = [
        pristine_sample(model, UsedImage(f"t{n}", f"{n + 100:064d}", 1), camera.natural(n + 100))
        for n in range(4)
    ]
    write_model(str(folder / "models" / "bench"), train(model, samples))
    (folder / "images").mkdir()
    for number in range(images):
        path = folder / "images" / f"{number:03d}.jpg"
        path.write_bytes(camera.encode(camera.natural(number)))


def write_rows(folder: Path, count: int) -> Path:
    """A manifest of that many rows over the images on disk."""
    path = folder / f"{count}.parquet"
    rows = [
        ManifestRow(f"{n:06d}", str(folder / "images" / f"{n % DISTINCT:03d}.jpg"), "bench")
        for n in range(count)
    ]
    manifest.write_manifest(rows, str(path))
    return path


def settings(folder: Path) -> ScanSettings:
    return load(ScanSettings, None, ["--camera_models", str(folder / "models")])


def run_job(
    folder: Path, count: int, workers: int = WORKERS, options: Sequence[str] = ()
) -> dict[str, Any]:
    """A scan job, from its command to its exit."""
    rows = write_rows(folder, count)
    command = [sys.executable, "-m", "jobs.scan", "--manifest", str(rows)]
    command += ["--output", str(output(folder, count, workers)), "--pool.workers", str(workers)]
    command += ["--camera_models", str(folder / "models"), *options]
    return {"images": count, **measured(command)}


def output(folder: Path, count: int, workers: int) -> Path:
    """Folder of a run."""
    return folder / f"run-{count}-{workers}"


def speedup(folder: Path, count: int) -> dict[str, Any]:
    """The same images by one worker and by two."""
    found: dict[str, Any] = {}
    for workers in (1, 2):
        job = run_job(folder, count, workers, SPEEDUP_OPTIONS)
        reports = output(folder, count, workers).glob("report/*.parquet")
        commits = sorted(path.stat().st_mtime for path in reports)
        scanned = count - workers * SPEEDUP_SHARD
        rate = scanned / (commits[-1] - commits[workers - 1])
        found[f"workers_{workers}"] = {**job, "workers": workers, "scanning_images_per_s": rate}
    one, two = found["workers_1"], found["workers_2"]
    return {
        **found,
        "speedup_scanning": two["scanning_images_per_s"] / one["scanning_images_per_s"],
        "speedup_whole": one["wall_s"] / two["wall_s"],
    }


def run_bare(folder: Path, count: int) -> dict[str, Any]:
    """The same detectors in plain loops, one process per worker."""
    rows = write_rows(folder, count)
    command = [sys.executable, "-m", "benchmarks.bench_scan", "--bare", str(rows), str(folder)]
    return {"images": count, **measured(*([*command, str(part)] for part in range(WORKERS)))}


def measured(*commands: list[str]) -> dict[str, float]:
    """Wall seconds until all have ended, processor seconds and peak memory of their trees."""
    start = time.perf_counter()
    with tempfile.TemporaryFile("w+") as log:
        processes = [
            subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT) for command in commands
        ]
        trees = [Tree(process.pid) for process in processes]
        codes = [process.wait() for process in processes]
        wall = time.perf_counter() - start
        log.seek(0)
        if any(codes):
            raise RuntimeError(log.read())
    return {
        "wall_s": wall,
        "cpu_s": sum(tree.cpu_seconds() for tree in trees),
        "peak_mb": sum(tree.peak_bytes for tree in trees) / 1e6,
    }


def bare_loop(rows: str, folder: str, part: str) -> None:
    """Every WORKERS-th row, one after the other."""
    scanner = Scanner(settings(Path(folder)))
    for row in list(manifest.read(rows))[int(part) :: WORKERS]:
        report = scanner.answer(row)
        if report.status != "ok":
            raise RuntimeError(f"{row.image_id}: {report.reason}")


class Tree:
    """Peak memory and processor time of a process and all below it, while it lives."""

    def __init__(self, pid: int) -> None:
        self.peak_bytes = 0
        self._cpu: dict[tuple[int, float], float] = {}
        self._root = psutil.Process(pid)
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def cpu_seconds(self) -> float:
        """User and system time, as last seen of each process."""
        self._thread.join()
        return sum(self._cpu.values())

    def saw(self, process: psutil.Process, memory: Any) -> None:
        """Told of each process at each sample."""

    def _sample(self) -> None:
        while True:
            total = 0
            try:
                tree = [self._root, *self._root.children(recursive=True)]
            except psutil.NoSuchProcess:
                return
            for process in tree:
                try:
                    times = process.cpu_times()
                    self._cpu[process.pid, process.create_time()] = times.user + times.system
                    memory = process.memory_full_info()
                    total += memory.pss
                    self.saw(process, memory)
                except (psutil.NoSuchProcess, psutil.AccessDenied):
                    continue
            if not total:
                return
            self.peak_bytes = max(self.peak_bytes, total)
            time.sleep(0.5)


def main() -> None:
    """Prepare, measure, write the result."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--small", type=int, default=200)
    parser.add_argument("--large", type=int, default=2000)
    parser.add_argument("--speedup", nargs="?", type=int, const=300, metavar="IMAGES")
    parser.add_argument("--bare", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.bare:
        bare_loop(*arguments.bare)
        return
    about = machine("torch", "ray", "pyarrow")
    with tempfile.TemporaryDirectory(prefix="bench-scan-") as name:
        folder = Path(name)
        prepare(folder)
        if arguments.speedup:
            write({"speedup": {**about, **speedup(folder, arguments.speedup)}})
            return
        small = run_job(folder, arguments.small)
        large = run_job(folder, arguments.large)
        bare = run_bare(folder, arguments.large)
    write(
        {
            "what": f"scan of {WIDTH}x{HEIGHT} JPEGs, camera + prnu, {WORKERS} workers",
            **about,
            "job_small": small,
            "job_large": large,
            "bare_large": bare,
            "overhead_wall": large["wall_s"] / bare["wall_s"] - 1,
            "overhead_cpu": large["cpu_s"] / bare["cpu_s"] - 1,
            "peak_memory_growth": large["peak_mb"] / small["peak_mb"] - 1,
        }
    )


def write(part: dict[str, Any]) -> None:
    """Put a part of the results in place of its last version."""
    known = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps({**known, **part}, indent=1) + "\n")
    print(json.dumps(part, indent=1))


if __name__ == "__main__":
    main()
