"""What one image takes on one core or one GPU, by detector and size: what a scan is sized by.

    python -m benchmarks.bench_sizing
    python -m benchmarks.bench_sizing --sizes 1152x864
    python -m benchmarks.bench_sizing --device cuda

JPEGs of a simulated camera of that size, judged by its own camera model, whole: read, hashed,
decoded, examined, each detector in a process of its own with one thread. Processor and wall seconds
(median of three images after a first one), resident memory before the first image and at the peak,
and the bytes of the maps. With ``--device cuda`` also the memory of the GPU at its peak, and the
detectors that want one: `trufor` and `origin`, with made-up weights of full size (on CPUs they have
benchmarks of their own). Ends with the table. Writes benchmarks/results/sizing.json, or
sizing-<name of the GPU>.json.
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

import torch

from benchmarks import bench_trufor
from benchmarks.bench_scan import prepare
from benchmarks.machine import machine
from forensics.config import load
from forensics.origin.network import NetworkSettings, OriginNetwork
from forensics.origin.weights import to_bytes
from forensics.records import ManifestRow
from forensics.scan import Scanner, ScanSettings
from forensics.schema import map_records
from forensics.trufor.checkpoint import to_safetensors
from forensics.trufor.model import TruForNetwork

IMAGES = 4
FAST = ["--prnu.strategy", "sw-ss", "--prnu.decision", "stm"]
DETECTORS = {
    "camera": ["--detectors", "camera"],
    "prnu, sw-ss and stm": ["--detectors", "prnu", *FAST],
    "prnu, m-slic and crf": ["--detectors", "prnu"],
    "camera and prnu, the default": [],
    "manipulation": ["--detectors", "manipulation"],
}
TRUFOR = ["--detectors", "trufor", "--trufor.checkpoint", "{folder}/trufor.safetensors"]
ORIGIN = ["--detectors", "origin", "--origin.weights", "{folder}/origin.safetensors"]
ON_GPU = {
    "trufor, float32": TRUFOR,
    "trufor, float16": [*TRUFOR, "--trufor.precision", "float16"],
    "origin": [*ORIGIN, "--origin.min_patches", "1"],
}
RESULTS = Path(__file__).parent / "results"


def make_networks(folder: Path) -> None:
    """Weights of full size; what they are does not change what they take."""
    trufor = TruForNetwork()
    trufor.load_state_dict(bench_trufor.weights())
    (folder / "trufor.safetensors").write_bytes(to_safetensors(trufor))
    origin = OriginNetwork(NetworkSettings(classes=("npi", "cgg", "dgi"), natural="npi"))
    (folder / "origin.safetensors").write_bytes(to_bytes(origin))


def examine(folder: Path, options: list[str]) -> dict[str, Any]:
    """The images of the folder by one scanner in this process."""
    scanner = Scanner(
        load(ScanSettings, None, ["--camera_models", str(folder / "models"), *options])
    )
    before, spent, wall, maps = memory("VmRSS"), [], [], 0
    files = sorted((folder / "images").iterdir())
    for path in files:
        start, clock = time.process_time(), time.perf_counter()
        report = scanner.answer(ManifestRow(path.stem, str(path), "bench"))
        spent.append(time.process_time() - start)
        wall.append(time.perf_counter() - clock)
        if report.status != "ok":
            raise RuntimeError(report.reason)
        maps += sum(len(item["png"]) for item in map_records(report))
    return {
        "cpu_s": statistics.median(spent[1:]),
        "cpu_first_s": spent[0],
        "wall_s": statistics.median(wall[1:]),
        "before_mb": before,
        "peak_mb": memory("VmHWM"),
        "gpu_peak_mb": torch.cuda.max_memory_reserved() / 1e6,  # 0 where none was used
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
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    arguments = parser.parse_args()
    on_gpu = arguments.device == "cuda"
    if on_gpu and not torch.cuda.is_available():
        parser.error("torch sees no GPU")
    gpu = torch.cuda.get_device_name() if on_gpu else None
    about = {"gpu": gpu, **machine("torch", "numpy", "pillow")}
    found: dict[str, Any] = {"images": IMAGES, **about}
    detectors = DETECTORS | (ON_GPU if on_gpu else {})
    for size in arguments.sizes:
        width, height = map(int, size.split("x"))
        with tempfile.TemporaryDirectory(prefix="bench-sizing-") as name:
            prepare(Path(name), width, height, IMAGES)
            if on_gpu:
                make_networks(Path(name))
            for detector, options in detectors.items():
                command = [sys.executable, "-m", "benchmarks.bench_sizing", "--examine", name]
                command += ["--device", arguments.device]
                command += [option.format(folder=name) for option in options]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                found.setdefault(size, {})[detector] = json.loads(done.stdout)
                print(size, detector, done.stdout, flush=True)
    slug = "" if gpu is None else "-" + re.sub(r"[^a-z0-9]+", "-", gpu.lower()).strip("-")
    (RESULTS / f"sizing{slug}.json").write_text(json.dumps(found, indent=1) + "\n")
    print(table(found, arguments.sizes, "wall_s" if on_gpu else "cpu_s"))


def table(found: dict[str, Any], sizes: list[str], seconds: str) -> str:
    """In Markdown: a row per detector, for each size time, images per hour and memory."""
    lines = ["| detector | " + " | ".join(sizes) + " |", "|---" * (len(sizes) + 1) + "|"]
    for detector in found[sizes[0]]:
        cells = []
        for size in sizes:
            one = found[size][detector]
            gpu = f", GPU {one['gpu_peak_mb'] / 1e3:.2g} GB" if one["gpu_peak_mb"] else ""
            cells.append(
                f"{one[seconds]:.2g} s: {3600 / one[seconds]:,.0f} per hour, "
                f"{one['peak_mb'] / 1e3:.2g} GB{gpu}, maps {one['maps_bytes'] / 1e3:.2g} kB"
            )
        lines.append(f"| {detector} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
