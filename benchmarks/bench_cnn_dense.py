"""Time of the CNN predictor over a whole image against the same network run block by block.

    python -m benchmarks.bench_cnn_dense

One core, the paper's network with windows of 128 px on a 6-MP image. Block by block at every pixel
would take hours: a few hundred blocks are predicted, in batches of the size that is fastest, and
the time per block is multiplied by the number of windows. Seconds are those of the processor: they
hold on a machine that others use at the same time. The counted work is what convolutions and fully
connected layers need, without what tiles repeat at their seams; the limit is what a matrix product
of the same kind of numbers reaches on one core in the same run. Writes
benchmarks/results/cnn_dense.json.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.bench_residual import status_megabytes
from benchmarks.machine import machine
from forensics.prnu.predictors.fragments import dense
from forensics.prnu.predictors.network import CNNSettings, CorrelationNetwork

HEIGHT, WIDTH, WINDOW = 2000, 3008, 128
RUNS = {1: 1, 4: 3, 8: 5, 16: 5}  # stride: how often
BATCHES, BLOCK_RUNS = (1, 16, 64, 256), 5  # blocks predicted at once; the fastest counts
RESULT = Path(__file__).parent / "results" / "cnn_dense.json"


def network() -> CorrelationNetwork:
    """Weights that give every window its own prediction."""
    made = CorrelationNetwork(CNNSettings(), WINDOW).eval()
    torch.nn.init.normal_(made.output.weight, std=0.1, generator=torch.Generator().manual_seed(0))
    return made


def picture() -> torch.Tensor:
    """uint8 (H, W, 3); the time does not depend on what it shows."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (HEIGHT, WIDTH, 3), dtype=torch.uint8, generator=generator)


def seconds(function: Callable[[], object], runs: int) -> dict[str, float]:
    wall, processor = [], []
    for _ in range(runs):
        clock, cpu = time.perf_counter(), time.process_time()
        function()
        wall.append(time.perf_counter() - clock)
        processor.append(time.process_time() - cpu)
    return {
        "runs": runs,
        "cpu_median_s": statistics.median(processor),
        "cpu_min_s": min(processor),
        "cpu_max_s": max(processor),
        "wall_median_s": statistics.median(wall),
    }


def work_per_block(settings: CNNSettings) -> float:
    """Floating-point operations of one block alone, two per multiplication."""
    side, total = WINDOW, 0
    channels = (3, *settings.widths)
    for layer in range(6):
        side -= settings.kernel - 1
        total += side**2 * settings.kernel**2 * channels[layer] * channels[layer + 1]
        side //= 1 + layer % 2
    return 2 * (total + _head(settings))


def work_per_pixel(settings: CNNSettings, stride: int) -> float:
    """Floating-point operations per pixel of an image: one value per window that is asked for."""
    total, values = 0.0, 1.0  # values of a feature map per pixel of the image
    channels = (3, *settings.widths)
    for layer in range(6):
        total += values * settings.kernel**2 * channels[layer] * channels[layer + 1]
        if layer % 2:
            values = max(1 / 4 ** (layer // 2 + 1), 1 / min(stride, 8) ** 2)
    return 2 * (total + _head(settings) / stride**2)


def _head(settings: CNNSettings) -> int:
    inputs = settings.last_map(WINDOW) ** 2 * settings.widths[-1]
    return settings.hidden * (inputs + 1)


def matrix_product() -> float:
    """Floating-point operations per second of float32 matrix products, the best of 7."""
    a = torch.ones(2048, 2048)
    best = min(seconds(lambda: a @ a, 1)["cpu_min_s"] for _ in range(7))
    return 2 * 2048**3 / best


def added_memory(stride: int) -> float:
    torch.set_num_threads(1)
    made, rgb = network(), picture()
    dense(made, rgb[:256, :256], stride)  # loads the libraries
    before = status_megabytes("VmRSS")
    dense(made, rgb, stride)
    return status_megabytes("VmHWM") - before


def memory(stride: int) -> float:
    """Megabytes that a prediction adds to a process that holds image and network."""
    code = f"from benchmarks.bench_cnn_dense import added_memory; print(added_memory({stride}))"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(child.stdout)


@torch.inference_mode()
def main() -> None:
    torch.set_num_threads(1)
    about = machine("torch", "numpy")
    made, rgb, settings = network(), picture(), CNNSettings()
    limit = matrix_product()
    per_block_by_batch = {}
    for batch in BATCHES:
        blocks = torch.stack([rgb[i : i + WINDOW, :WINDOW] for i in range(batch)]).movedim(-1, 1)
        timed = seconds(lambda blocks=blocks: made(blocks), BLOCK_RUNS)  # type: ignore[misc]
        per_block_by_batch[batch] = timed["cpu_median_s"] / batch
    per_block = min(per_block_by_batch.values())
    results: dict[str, Any] = {}
    for stride, runs in RUNS.items():
        timed = seconds(lambda stride=stride: dense(made, rgb, stride), runs)  # type: ignore[misc]
        windows = ((HEIGHT - WINDOW) // stride + 1) * ((WIDTH - WINDOW) // stride + 1)
        flops = work_per_pixel(settings, stride) * HEIGHT * WIDTH
        rate = flops / timed["cpu_median_s"]
        results[str(stride)] = {
            **timed,
            "windows": windows,
            "block_by_block_s": windows * per_block,
            "times_faster": windows * per_block / timed["cpu_median_s"],
            "gflop": flops / 1e9,
            "gflop_per_s": rate / 1e9,
            "fraction_of_limit": rate / limit,
            "memory_added_mb": memory(stride),
        }
        print(stride, json.dumps(results[str(stride)]), flush=True)
    result = {
        "what": f"CNN prediction of a {WIDTH}x{HEIGHT} image, windows of {WINDOW} px, one core",
        **about,
        "block": {
            "cpu_median_s_by_batch": per_block_by_batch,
            "gflop": work_per_block(settings) / 1e9,
            "gflop_per_s": work_per_block(settings) / per_block / 1e9,
        },
        "matrix_product_gflop_per_s": limit / 1e9,
        "dense_by_stride": results,
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
