"""Time of drawing patches, of the origin network and of its baselines.

    python -m benchmarks.bench_origin

Patches of a picture of 12 megapixels with edges everywhere; networks of several widths, per patch
of 224 pixels, judging and learning; features of the baselines per patch. Processor seconds of one
thread, median and range of the runs, as other work on the machine does not count in them. Writes
benchmarks/results/origin.json.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.machine import machine
from forensics.origin.baselines import FEATURES
from forensics.origin.canny import canny
from forensics.origin.network import NetworkSettings, OriginNetwork
from forensics.origin.patches import PatchSettings, select

HEIGHT, WIDTH, SIDE = 3000, 4000, 224
WIDTHS = (1.0, 0.5, 0.25, 0.125)
BATCH = 8
RUNS = 5
RESULT = Path(__file__).parent / "results" / "origin.json"


def picture() -> np.ndarray[Any, Any]:
    """uint8 (H, W, 3): tiles with steps of all strengths between them, and noise."""
    rng = np.random.default_rng(0)
    tiles = rng.integers(0, 256, (HEIGHT // 40, WIDTH // 40, 3), dtype=np.uint8)
    steps = Image.fromarray(tiles).resize((WIDTH, HEIGHT), Image.Resampling.NEAREST)
    noise = rng.normal(0, 12, (HEIGHT, WIDTH, 3))
    return (np.asarray(steps) + noise).clip(0, 255).astype(np.uint8)


def timed(function: Callable[[], Any], share: float = 1.0) -> dict[str, float]:
    """Processor seconds of a call, times ``share``."""
    function()
    seconds = []
    for _ in range(RUNS):
        start = time.process_time()
        function()
        seconds.append((time.process_time() - start) * share)
    return {
        "cpu_median_s": statistics.median(seconds),
        "cpu_min_s": min(seconds),
        "cpu_max_s": max(seconds),
    }


def network_times(width: float) -> dict[str, Any]:
    """Seconds per patch."""
    network = OriginNetwork(NetworkSettings(classes=("npi", "cgg", "dgi"), width=width))
    pixels = torch.randint(0, 256, (BATCH, SIDE, SIDE, 3), dtype=torch.uint8)

    def learn() -> None:
        network(pixels).sum().backward()

    learning = timed(learn, 1 / BATCH)
    network.eval()
    with torch.inference_mode():
        judging = timed(lambda: network(pixels), 1 / BATCH)
    return {"width": width, "judging_per_patch": judging, "learning_per_patch": learning}


def main() -> None:
    torch.set_num_threads(1)
    about = machine("torch", "numpy", "scipy", "scikit-image")
    rgb = picture()
    edge_share = float(canny(rgb).mean())
    assert edge_share > 0.1, edge_share  # as in photos full of detail
    patch = rgb[:SIDE, :SIDE]
    results = {
        "machine": about,
        "megapixels": HEIGHT * WIDTH / 1e6,
        "edge_share": edge_share,
        "canny": timed(lambda: canny(rgb)),
        "select_200": timed(lambda: select(rgb, PatchSettings())),
        "networks": [network_times(width) for width in WIDTHS],
        "features_per_patch": {
            name: timed(lambda f=function: f(patch))  # type: ignore[misc]
            for name, function in FEATURES.items()
        },
    }
    text = json.dumps(results, indent=1)
    RESULT.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
