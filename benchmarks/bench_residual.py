"""Time of ``noise_residual`` against the published algorithm, one core, in one run.

    python -m benchmarks.bench_residual

Writes benchmarks/results/residual.json. The peer is tests/prnu/peer.py: the steps of prnu-python
(float64 box filters of SciPy, PyWavelets), run on the same picture and compared with it. Processor
seconds are given too: they hold on a machine that others use at the same time.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pywt
import scipy
import torch
from numpy.typing import NDArray

from forensics.prnu.residual import noise_residual
from tests.prnu import peer

HEIGHT, WIDTH = 2592, 3872
ROUNDS, RUNS = 3, 5  # in every round RUNS of the library, then one of the peer
MEASURED = [
    "tests/prnu/peer.py",
    *(f"forensics/prnu/{name}.py" for name in ("wavelet", "shrinkage", "cleanup", "residual")),
]
RESULT = Path(__file__).parent / "results" / "residual.json"

# What must pass through memory if every stage kept its intermediates in cache, bytes per pixel:
# the image read (3) and its gray noise written (4); then rows, columns and rows again of the
# Fourier transforms, each reading and writing one plane (8 each), with the clean-up inside them.
MINIMUM_BYTES_PER_PIXEL = 3 + 4 + 3 * 8


def picture() -> NDArray[np.uint8]:
    """Smooth structure, edges and noise, so that the shrinkage meets both kinds of coefficients."""
    rng = np.random.default_rng(0)
    y, x = np.ogrid[:HEIGHT, :WIDTH]
    base = 120 + 60 * np.sin(x / 170 + y / 290) + 40 * ((x // 40 + y // 30) % 2)
    rgb = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    for channel, gain in enumerate((1.0, 0.9, 0.7)):
        noise = rng.normal(0, 4, (HEIGHT, WIDTH))
        rgb[..., channel] = np.clip(base * gain + noise, 0, 255)
    return rgb


def timed(function: Callable[[], object]) -> tuple[float, float]:
    """Wall and processor seconds of one call."""
    wall, processor = time.perf_counter(), time.process_time()
    function()
    return time.perf_counter() - wall, time.process_time() - processor


def summary(times: list[tuple[float, float]]) -> dict[str, float]:
    wall, processor = zip(*times, strict=True)
    return {
        "runs": len(times),
        "wall_median_s": statistics.median(wall),
        "wall_min_s": min(wall),
        "wall_max_s": max(wall),
        "cpu_median_s": statistics.median(processor),
        "cpu_min_s": min(processor),
        "cpu_max_s": max(processor),
    }


def bandwidth() -> float:
    """Bytes per second of ``a = b + 3 c`` on arrays of 256 MB, one core, best of 7."""
    a, b, c = (torch.ones(1 << 26) for _ in range(3))
    best = min(timed(lambda: torch.add(b, c, alpha=3.0, out=a))[0] for _ in range(7))
    return 3 * a.numel() * a.itemsize / best


def peak_megabytes() -> float:
    """Memory that one call adds to a process that holds the picture, in a process of its own."""
    code = "from benchmarks.bench_residual import added_memory; print(added_memory())"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(child.stdout)


def added_memory() -> float:
    torch.set_num_threads(1)
    rgb = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    noise_residual(rgb[:200, :200])  # loads the libraries
    before = status_megabytes("VmRSS")
    noise_residual(rgb)
    return status_megabytes("VmHWM") - before


def status_megabytes(field: str) -> float:
    """Of this process alone; ru_maxrss would include what its parent held when it forked."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(x.split()[1]) for x in lines if x.startswith(field)) * 1024 / 1e6


def cpu_model() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), "unknown")


def commit() -> str:
    described = subprocess.run(
        ["git", "describe", "--always", "--abbrev=12", "--exclude=*"],
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    changed = subprocess.run(
        ["git", "status", "--porcelain", *MEASURED], capture_output=True, text=True, check=True
    ).stdout.strip()
    return described + ("+changes" if changed else "")


def main() -> None:
    torch.set_num_threads(1)
    load_before = os.getloadavg()[0]
    rgb = picture()
    ours, theirs = noise_residual(rgb), peer.noise_residual(rgb)
    correlation = float(np.corrcoef(ours.ravel(), theirs.ravel())[0, 1])
    library_times, peer_times = [], []
    for _ in range(ROUNDS):
        library_times += [timed(lambda: noise_residual(rgb)) for _ in range(RUNS)]
        peer_times.append(timed(lambda: peer.noise_residual(rgb)))
    library, published = summary(library_times), summary(peer_times)
    bytes_per_second = bandwidth()
    limit = MINIMUM_BYTES_PER_PIXEL * HEIGHT * WIDTH / bytes_per_second
    result = {
        "what": f"noise_residual of a {WIDTH}x{HEIGHT} RGB image, one core",
        "commit": commit(),
        "cpu": cpu_model(),
        "load_average_before": load_before,
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
            "scipy": scipy.__version__,
            "pywavelets": pywt.__version__,
        },
        "library": library,
        "peer": published,
        "ratio_of_wall_medians": published["wall_median_s"] / library["wall_median_s"],
        "ratio_of_cpu_medians": published["cpu_median_s"] / library["cpu_median_s"],
        "one_minus_correlation": 1 - correlation,
        "largest_difference_in_standard_deviations": float(
            np.abs(ours - theirs).max() / theirs.std()
        ),
        "memory_added_mb": peak_megabytes(),
        "bandwidth_gb_s": bytes_per_second / 1e9,
        "minimum_bytes_per_pixel": MINIMUM_BYTES_PER_PIXEL,
        "limit_by_bandwidth_s": limit,
        "fraction_of_limit": limit / library["cpu_median_s"],
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
