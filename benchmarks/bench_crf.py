"""Time of fusing the maps of seven scales and of deciding by the conditional random field.

    python -m benchmarks.bench_crf

One core, maps at a stride of 8 of images of 1.2, 6 and 24 MP. How long a minimum cut takes depends
on the map, so there are three: a forgery that shows clearly, one that barely shows, and a map that
says nothing. Seconds are those of the processor: they hold on a machine that others use at the same
time. Writes benchmarks/results/crf.json.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import maxflow
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from benchmarks.machine import machine
from forensics.localize import crf
from forensics.localize.fusion import adaptive_window

STRIDE = 8
IMAGES = {"1.2 MP": (960, 1280), "6 MP": (2000, 3008), "24 MP": (4000, 6000)}
LOGITS = {"clear": 4.0, "vague": 1.0, "nothing": 0.0}  # of the forgery; minus that elsewhere
SCALES = 7
RUNS = 7
RESULT = Path(__file__).parent / "results" / "crf.json"


def picture(height: int, width: int) -> NDArray[np.uint8]:
    """Smooth structure, edges and noise."""
    rng = np.random.default_rng(0)
    y, x = np.ogrid[:height, :width]
    base = 120 + 60 * np.sin(x / 170 + y / 290) + 40 * ((x // 320 + y // 240) % 2)
    noise = rng.normal(0, 4, (height, width, 3))
    return np.clip(base[..., None] * (1.0, 0.9, 0.7) + noise, 0, 255).astype(np.uint8)


def probabilities(shape: tuple[int, int], logit: float) -> NDArray[np.float32]:
    """Maps of `SCALES` scales: a square forgery under noise that is as smooth as the window."""
    rng = np.random.default_rng(1)
    y, x = np.ogrid[: shape[0], : shape[1]]
    forged = (abs(y / shape[0] - 0.5) < 0.12) & (abs(x / shape[1] - 0.5) < 0.1)
    maps = []
    for sigma in np.geomspace(1.5, 12, SCALES):
        noise = gaussian_filter(rng.normal(size=shape), sigma)
        shown = gaussian_filter(np.where(forged, logit, -logit), sigma)
        maps.append(1 / (1 + np.exp(-shown - noise / noise.std())))
    return np.stack(maps).astype(np.float32)


class TimedGraph(maxflow.GraphFloat):  # type: ignore[misc]
    """A graph that knows how long its minimum cut took."""

    seconds = 0.0

    def maxflow(self, *args: Any) -> float:
        start = time.process_time()
        flow: float = super().maxflow(*args)
        TimedGraph.seconds = time.process_time() - start
        return flow


def timed(function: Callable[[], object]) -> dict[str, float]:
    """Processor seconds over `RUNS` calls, after one that is not counted."""
    function()
    seconds = []
    for _ in range(RUNS):
        start = time.process_time()
        function()
        seconds.append(time.process_time() - start)
    return {"median_s": statistics.median(seconds), "min_s": min(seconds), "max_s": max(seconds)}


def cuts(rgb: NDArray[np.float32], shape: tuple[int, int]) -> Iterator[dict[str, Any]]:
    """One entry per kind of map and ``alpha``."""
    for kind, logit in LOGITS.items():
        fused, _ = adaptive_window(probabilities(shape, logit))
        for alpha in (-1.0, 0.0):

            def decide(p: NDArray[np.float32] = fused, a: float = alpha) -> NDArray[Any]:
                return crf.segment(p, rgb, alpha=a)

            with mock.patch.object(maxflow, "GraphFloat", TimedGraph):
                cut = []
                for _ in range(RUNS):
                    labels = decide()
                    cut.append(TimedGraph.seconds)
            whole = timed(decide)
            yield {
                "map": kind,
                "alpha": alpha,
                "tampered": float(labels.mean()),
                "segment": whole,
                "minimum_cut_median_s": statistics.median(cut),
                "cells_per_s": fused.size / whole["median_s"],
            }


def sizes() -> Iterator[dict[str, Any]]:
    for name, (height, width) in IMAGES.items():
        image = picture(height, width)
        rgb = crf.rgb_at(image, STRIDE)
        shape = (rgb.shape[0], rgb.shape[1])
        maps = probabilities(shape, LOGITS["vague"])
        fusion = timed(lambda m=maps: adaptive_window(m))  # type: ignore[misc]
        yield {
            "image": name,
            "cells": list(shape),
            "rgb_at": timed(lambda i=image: crf.rgb_at(i, STRIDE)),  # type: ignore[misc]
            "fusion": fusion,
            "fusion_values_per_s": maps.size / fusion["median_s"],
            "crf": list(cuts(rgb, shape)),
        }


def main() -> None:
    torch.set_num_threads(1)
    result = {
        "what": f"rgb_at, adaptive_window ({SCALES} scales), crf.segment; stride {STRIDE}",
        "machine": machine("torch", "numpy", "pymaxflow"),
        "runs": RUNS,
        "sizes": list(sizes()),
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
