"""What one image takes on one core, by detector and size: the numbers that a scan is sized by.

    python -m benchmarks.bench_sizing
    python -m benchmarks.bench_sizing --sizes 1152x864

JPEGs of a simulated camera of that size, judged by its own camera model, whole: read, hashed,
decoded, examined, each detector in a process of its own with one thread. Processor seconds (median
of three images after a first one), resident memory before the first image and at the peak, and the
bytes of the maps. `trufor` and `origin` have benchmarks of their own. Writes
benchmarks/results/sizing.json.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.bench_scan import prepare
from benchmarks.machine import machine
from forensics.config import load
from forensics.records import ManifestRow
from forensics.scan import Scanner, ScanSettings
from forensics.schema import map_records

IMAGES = 4
FAST = ["--prnu.strategy", "sw-ss", "--prnu.decision", "stm"]
DETECTORS = {
    "camera": ["--detectors", "camera"],
    "prnu, sw-ss and stm": ["--detectors", "prnu", *FAST],
    "prnu, m-slic and crf": ["--detectors", "prnu"],
    "camera and prnu, the default": [],
    "manipulation": ["--detectors", "manipulation"],
}
RESULT = Path(__file__).parent / "results" / "sizing.json"


def examine(folder: Path, options: list[str]) -> dict[str, Any]:
    """The images of the folder by one scanner in this process."""
    scanner = Scanner(
        load(ScanSettings, None, ["--camera_models", str(folder / "models"), *options])
    )
    before, spent, maps = memory("VmRSS"), [], 0
    files = sorted((folder / "images").iterdir())
    for path in files:
        start = time.process_time()
        report = scanner.answer(ManifestRow(path.stem, str(path), "bench"))
        spent.append(time.process_time() - start)
        if report.status != "ok":
            raise RuntimeError(report.reason)
        maps += sum(len(item["png"]) for item in map_records(report))
    return {
        "cpu_s": statistics.median(spent[1:]),
        "cpu_first_s": spent[0],
        "before_mb": before,
        "peak_mb": memory("VmHWM"),
        "maps_bytes": maps / IMAGES,
        "file_bytes": sum(path.stat().st_size for path in files) / IMAGES,
    }


def memory(name: str) -> float:
    """Resident memory of this process in megabytes, now (VmRSS) or at most (VmHWM)."""
    status = Path("/proc/self/status").read_text()
    found = re.search(rf"^{name}:\s+(\d+) kB$", status, re.MULTILINE)
    return int(found[1]) * 1024 / 1e6 if found else float("nan")


def main() -> None:
    """Prepare each size, measure each detector on it, write the result."""
    if "--examine" in sys.argv[1:2]:
        print(json.dumps(examine(Path(sys.argv[2]), sys.argv[3:])))
        return
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sizes", nargs="*", default=["1152x864", "4000x3000"])
    arguments = parser.parse_args()
    found: dict[str, Any] = {"images": IMAGES, **machine("torch", "numpy", "pillow")}
    for size in arguments.sizes:
        width, height = map(int, size.split("x"))
        with tempfile.TemporaryDirectory(prefix="bench-sizing-") as name:
            prepare(Path(name), width, height, IMAGES)
            for detector, options in DETECTORS.items():
                command = [sys.executable, "-m", "benchmarks.bench_sizing", "--examine", name]
                done = subprocess.run(
                    [*command, *options], capture_output=True, text=True, check=True
                )
                found.setdefault(size, {})[detector] = json.loads(done.stdout)
                print(size, detector, done.stdout, flush=True)
    RESULT.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
