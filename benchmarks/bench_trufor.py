"""Time and memory of TruFor against the network written straight from its description.

    python -m benchmarks.bench_trufor [--sizes 512x512 1024x1024 ...] [--runs 1]

One process per image size and implementation, on all cores (or ``--threads``), with made-up weights
of the published size (time and memory do not depend on their values). Both examine the same image;
the largest differences of their outputs are reported. Peak memory is that of the process while it
examines, with libraries and weights. The straightforward one is not run where it would need more
memory than there is. Wall seconds are those to compare on a quiet machine; the load average says
whether it was. On a busy one compare processor seconds, with one thread: threads that wait for each
other use some up. Half precision is measured against float32 at 512x512. Writes
benchmarks/results/trufor.json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.bench_residual import status_megabytes
from benchmarks.machine import machine
from benchmarks.trufor_reference import trufor
from forensics.trufor.inference import Engine
from forensics.trufor.model import Output, TruForNetwork

SIZES = ("512x512", "1024x1024", "1536x1536", "4000x3000")
LARGEST_STRAIGHT = 1536 * 1536  # pixels; beyond, its attention matrices exceed any memory here
OURS, STRAIGHT = "float32", "straightforward"
HALF = ("bfloat16", "float16")
HALF_SIZE = "512x512"
RESULT = Path(__file__).parent / "results" / "trufor.json"


def weights() -> dict[str, torch.Tensor]:
    """Made up: He's scale for matrices, about one or zero for the rest, so that it responds."""
    network = TruForNetwork()
    generator = torch.Generator().manual_seed(0)
    for name, tensor in network.state_dict().items():
        if not tensor.is_floating_point() or name.endswith(("running_mean", "running_var")):
            continue
        noise = torch.randn(tensor.shape, generator=generator)
        if tensor.ndim > 1:
            tensor.copy_(noise * (2 / tensor[0].numel()) ** 0.5)
        else:
            tensor.copy_(0.05 * noise + (0 if name.endswith("bias") else 1))
    return network.state_dict()


def picture(size: str) -> torch.Tensor:
    """uint8 (H, W, 3): smooth, with noise and a part that has less of it."""
    width, height = map(int, size.split("x"))
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width]
    smooth = 120 + 60 * np.sin(x / 97) + 40 * np.cos(y / 61)
    noise = rng.normal(0, 6, (height, width, 3))
    noise[height // 3 : height // 2, width // 4 : width // 2] /= 3
    return torch.from_numpy((smooth[..., None] + noise).clip(0, 255).astype(np.uint8))


@torch.inference_mode()
def measure(kind: str, size: str, runs: int, threads: int, output: str) -> dict[str, Any]:
    """In a process of its own: seconds, peak memory; the outputs go to a file."""
    torch.set_num_threads(threads)
    state, pixels = weights(), picture(size)
    if kind == STRAIGHT:
        examine = lambda: Output(*trufor(state, pixels))  # noqa: E731
    else:
        network = TruForNetwork()
        network.load_state_dict(state)
        state.clear()
        engine = Engine(network, kind)  # type: ignore[arg-type]
        examine = lambda: engine(pixels)  # noqa: E731
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak of making weights
    before = status_megabytes("VmRSS")
    loads = [os.getloadavg()[0]]
    wall, processor = [], []
    for _ in range(runs):
        clock, cpu = time.perf_counter(), time.process_time()
        out = examine()
        wall.append(time.perf_counter() - clock)
        processor.append(time.process_time() - cpu)
    loads.append(os.getloadavg()[0])
    peak = status_megabytes("VmHWM")
    logits = out.logits[0]
    np.savez(
        output,
        logits=logits.numpy(),
        map=logits.softmax(0)[1].numpy(),
        confidence=out.confidence[0, 0].sigmoid().numpy(),
        score=out.score.sigmoid().numpy(),
        noiseprint=out.noiseprint[0, 0].numpy(),
    )
    return {
        "runs": runs,
        "wall_median_s": statistics.median(wall),
        "wall_min_s": min(wall),
        "wall_max_s": max(wall),
        "cpu_median_s": statistics.median(processor),
        "rss_before_gb": before / 1e3,
        "peak_rss_gb": peak / 1e3,
        "load_average": loads,
    }


def child(kind: str, size: str, runs: int, threads: int, output: Path) -> dict[str, Any]:
    code = (
        "import json; from benchmarks.bench_trufor import measure; "
        f"print(json.dumps(measure({kind!r}, {size!r}, {runs}, {threads}, {str(output)!r})))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{kind} at {size} ended with {done.returncode}: {done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    print(kind, size, json.dumps(found), flush=True)
    return found


def deviation(a: Path, b: Path) -> dict[str, dict[str, float]]:
    """Largest and mean absolute difference of every output."""
    with np.load(a) as one, np.load(b) as other:
        gaps = {name: np.abs(one[name] - other[name]) for name in one.files}
    return {name: {"max": float(g.max()), "mean": float(g.mean())} for name, g in gaps.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", nargs="+", default=SIZES)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    how = (options.runs, options.threads)
    result: dict[str, Any] = {
        "what": "TruFor, MiT-B2, one image; sizes are width x height",
        **machine("torch", "numpy"),
        "threads": options.threads,
        "sizes": {},
        "half_precision": {},
    }
    with tempfile.TemporaryDirectory() as folder:
        ours, other = Path(folder) / "ours.npz", Path(folder) / "other.npz"
        for size in options.sizes:
            found: dict[str, Any] = {OURS: child(OURS, size, *how, ours)}
            width, height = map(int, size.split("x"))
            if width * height <= LARGEST_STRAIGHT:
                straight = child(STRAIGHT, size, *how, other)
                found[STRAIGHT] = straight
                for clock in ("wall_median_s", "cpu_median_s"):
                    found[f"times_faster_{clock[:-9]}"] = straight[clock] / found[OURS][clock]
                found["deviation"] = deviation(ours, other)
            result["sizes"][size] = found
        child(OURS, HALF_SIZE, *how, ours)
        for kind in HALF:
            found = child(kind, HALF_SIZE, *how, other)
            result["half_precision"][kind] = {**found, "deviation": deviation(other, ours)}
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
