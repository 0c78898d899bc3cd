"""Time and memory of the manipulation network over a whole image, and of training one.

    python -m benchmarks.bench_manipulation [--size 3000x2000] [--runs 3] [--parts image training]

The map of a 6-megapixel image at the detector's stride: the network run as convolutions, stage by
stage, and the whole detector, with one thread and with one per core; against the network on
patches, timed on some of the windows and multiplied by how many there are. Both give the same
scores: the largest difference is reported. One process per number of threads; peak memory is that
of the process while it examines. Training of a binary task on made-up patches: seconds of the first
fit of the linear layer, of an epoch and of the last fit, and what the paper's small set (10800 +
10800 patches, 15 epochs) would take, all of them growing with the patches. Wall seconds are those
to compare on a quiet machine; the load average says whether it was; on a busy one compare processor
seconds of one thread. Writes its parts of benchmarks/results/manipulation.json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.bench_residual import status_megabytes
from benchmarks.machine import machine
from forensics.detectors import Resources, Subject
from forensics.manipulation import weights
from forensics.manipulation.base import NetworkSettings
from forensics.manipulation.codebook import soft_maps
from forensics.manipulation.dense import dense_scores
from forensics.manipulation.descriptor import HALF
from forensics.manipulation.detector import ManipulationDetector, ManipulationSettings
from forensics.manipulation.network import ALPHA, ResidualNetwork, normalised
from forensics.manipulation.operations import Manipulation
from forensics.manipulation.windows import Axis, pieces
from forensics.records import Image, ManifestRow
from forensics.train.manipulation.patches import Patches
from forensics.train.manipulation.training import ManipulationTraining, TrainingSettings

BATCH = 32  # patches of the patch-by-patch network
STRIP = 40  # rows that the stages are timed on
PAPER = 2 * 10800  # patches of the paper's small training set
EPOCHS = 15  # on it
BLUR = Manipulation("blur", 0.5)
RESULT = Path(__file__).parent / "results" / "manipulation.json"


def picture(size: str) -> torch.Tensor:
    """uint8 (H, W): smooth, with noise and a part that has less of it."""
    width, height = map(int, size.split("x"))
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width]
    values = 120 + 60 * np.sin(x / 97) + 40 * np.cos(y / 61)
    noise = rng.normal(0, 3, (height, width))
    noise[height // 3 : height // 2, width // 4 : width // 2] /= 3
    return torch.from_numpy((values + noise).clip(0, 255).astype(np.uint8))


def timed(work: Callable[[], Any], runs: int) -> dict[str, float]:
    """Median seconds, after one run that is not counted."""
    work()
    found = [clocked(work) for _ in range(runs)]
    return {clock: statistics.median(each[clock] for each in found) for clock in found[0]}


def image(size: str, runs: int, windows: int, threads: int) -> dict[str, Any]:
    """In a process of its own."""
    torch.set_num_threads(threads)
    network, plane = weights.load().network, picture(size)
    settings = ManipulationSettings()
    window, stride = network.settings.window, settings.stride
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak of loading
    before = status_megabytes("VmRSS")
    load = os.getloadavg()[0]
    whole = timed(lambda: dense_scores(network, plane, stride), runs)
    peak = status_megabytes("VmHWM")
    detector = ManipulationDetector(settings, Resources(torch.device("cpu")))
    rgb = plane[..., None].repeat(1, 1, 3).numpy()
    subject = Subject(ManifestRow("image", "image.png"), Image(rgb, "PNG"))
    return {
        "load_average_before": load,
        "dense": {**whole, "rss_before_gb": before / 1e3, "peak_rss_gb": peak / 1e3},
        "stages": stages(network, plane, runs),
        "detector": timed(lambda: detector.examine(subject), runs),
        "patch_by_patch": patch_by_patch(network, plane, window, stride, windows),
    }


@torch.inference_mode()
def stages(network: ResidualNetwork, plane: torch.Tensor, runs: int) -> dict[str, Any]:
    """Of the whole image, from strips of it: all four passes."""
    strip = plane[: STRIP + 6]
    factor = plane.shape[0] / STRIP
    weight, _ = network.linear()
    found: dict[str, dict[str, float]] = {}

    def add(name: str, work: Callable[[], Any]) -> None:
        for clock, seconds in timed(work, 3 * runs).items():
            found.setdefault(name, {}).setdefault(clock, 0.0)
            found[name][clock] += seconds * factor

    for number, branch in enumerate(network.branches):
        part = weight[:, number * HALF : (number + 1) * HALF]
        for transposed in (False, True):
            residuals = branch.residuals(normalised(strip)[None], transposed)[0, :, :STRIP]
            book = (branch.codewords, branch.biases, ALPHA, part)
            maps = soft_maps(residuals.flatten(1), *book).reshape(-1, *residuals.shape[1:])
            add("residuals", partial(branch.residuals, normalised(strip)[None], transposed))
            add("codewords and classes", partial(soft_maps, residuals.flatten(1), *book))
            add("sums", partial(sums, maps, network.settings.window - 3))
    return found


def sums(maps: torch.Tensor, extent: int) -> torch.Tensor:
    stride = ManipulationSettings().stride
    return pieces(pieces(maps, extent, stride, 1), extent, stride, 2)


@torch.inference_mode()
def patch_by_patch(
    network: ResidualNetwork, plane: torch.Tensor, window: int, stride: int, windows: int
) -> dict[str, float]:
    """The network on some windows, as if on all; and how far dense scores are from its."""
    rows, columns = (Axis.of(size, window, stride) for size in plane.shape)
    dense = dense_scores(network, plane, stride)
    chosen = np.random.default_rng(0).integers((rows.count, columns.count), size=(windows, 2))
    patches = torch.stack(
        [
            plane[y : y + window, x : x + window]
            for y, x in (chosen * stride + (rows.first, columns.first)).tolist()
        ]
    )
    clock, cpu = time.perf_counter(), time.process_time()
    scores = torch.cat([network(part) for part in torch.split(patches, BATCH)])
    wall, processor = time.perf_counter() - clock, time.process_time() - cpu
    total = rows.count * columns.count
    gap = (scores - dense[chosen[:, 0], chosen[:, 1]]).abs().max()
    return {
        "windows": total,
        "windows_timed": windows,
        "wall_s_extrapolated": wall * total / windows,
        "processor_s_extrapolated": processor * total / windows,
        "largest_score": float(scores.abs().max()),
        "largest_difference_of_scores": float(gap),
    }


def training(count: int, threads: int) -> dict[str, Any]:
    """Seconds of the parts of a binary training, by how many places of a patch its steps see.

    With one thread: two on a busy machine wait for each other.
    """
    torch.set_num_threads(threads)
    patches = made_up(count)
    found: dict[str, Any] = {"load_average_before": os.getloadavg()[0], "patches": count}
    for thinning in (1, 3, 5):
        settings = TrainingSettings(epochs=2, thinning=thinning)
        network = ResidualNetwork(NetworkSettings(classes=("pristine", "blur-0.5")))
        begun = ManipulationTraining(network, patches, settings)
        epochs = begun.epochs()
        first = clocked(partial(next, epochs))  # fits the linear layer before
        epoch = clocked(partial(next, epochs))
        last_fit = clocked(begun.finish)
        for clock in epoch:
            first_fit = max(first[clock] - epoch[clock], 0.0)
            total = first_fit + EPOCHS * epoch[clock] + last_fit[clock]
            found.setdefault(f"thinning {thinning}", {})[clock] = {
                "first_fit": first_fit,
                "epoch": epoch[clock],
                "last_fit": last_fit[clock],
                "paper_small_set_minutes": total / count * PAPER / 60,
            }
    return found


def made_up(count: int) -> Patches:
    """Pristine patches and blurred ones, of as many devices as make all the folds of a fit."""
    rng = np.random.default_rng(0)
    pristine = rng.normal(120, 3, (count // 2, 128, 128)).clip(0, 255).astype(np.uint8)
    blurred = np.stack([BLUR.apply(patch) for patch in pristine])
    devices = np.array([f"device {n % 8}" for n in range(count // 2)])
    labels = np.repeat(np.arange(2), count // 2)
    return Patches(np.concatenate([pristine, blurred]), labels, np.tile(devices, 2))


def clocked(work: Callable[[], Any]) -> dict[str, float]:
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return {
        "wall_s": time.perf_counter() - wall,
        "processor_s": time.process_time() - processor,
    }


def child(part: str, *arguments: Any) -> dict[str, Any]:
    """What a part gives in a process of its own."""
    code = (
        "import json; from benchmarks import bench_manipulation as own; "
        f"print(json.dumps(own.{part}(*{arguments!r})))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{part} ended with {done.returncode}: {done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default="3000x2000", help="width x height")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--windows", type=int, default=64, help="timed patch by patch")
    parser.add_argument("--patches", type=int, default=360, help="trained on")
    parser.add_argument("--parts", nargs="+", default=["image", "training"])
    options = parser.parse_args()
    given = {
        "image": (options.size, options.runs, options.windows),
        "training": (options.patches,),
    }
    result = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    each = tuple(dict.fromkeys((1, os.cpu_count() or 1)))
    for part in options.parts:
        result[part] = machine("torch", "numpy")
        for threads in each if part == "image" else (1,):
            result[part][f"{threads} threads"] = child(part, *given[part], threads)
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
