"""Time of superpixels of seven sizes (M-SLIC) and the decision by CRF, stage by stage, in one run.

    OMP_WAIT_POLICY=PASSIVE python -m benchmarks.bench_mslic

One simulated photo of 3008x2000 with a part from another camera, on two threads and on one.
Everything between the decoded pixels and the decision is run `RUNS` times; the stages inside
`multi_slic` are timed by wrapping what it calls. Processor seconds are given too: on one thread
they hold on a machine that others use at the same time. ``bytes`` is what must pass through memory
if every stage kept its intermediates in cache, ``limit_by_bandwidth_s`` how long that takes one
core. Writes benchmarks/results/mslic.json.
"""

from __future__ import annotations

import json
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.bench_residual import bandwidth
from benchmarks.machine import machine
from forensics.localize import crf, slic
from forensics.localize.signals import Signals
from forensics.localize.superpixels import segment_counts, superpixels
from forensics.prnu.camera_model import WindowModel
from forensics.prnu.correlation import ncc_field
from forensics.prnu.features import feature_maps, feature_planes
from forensics.prnu.predictors import LSEPredictor
from forensics.prnu.residual import gray, noise_residual
from forensics.synth.camera import SimulatedCamera

HEIGHT, WIDTH, STRIDE, TAU = 2000, 3008, 8, 0.8
SIZES = (32, 48, 64, 96, 128, 192, 256)
RUNS = 5
RESULT = Path(__file__).parent / "results" / "mslic.json"

# Bytes per pixel read and written by each stage, one float32 plane being 4; what bounds it.
STAGES = {
    "residual": (3 + 4 + 3 * 8, "arithmetic of the wavelets and Fourier transforms"),
    "fingerprint": (3 + 4 + 4, "memory"),
    "features": (3 + 4 * 4, "arithmetic of the wavelets, and 5x5 variances held in cache"),
    "saturation": (3 + 4, "memory, and expm1"),
    "slic": (3, "arithmetic: every superpixel compares itself with the 16 times its cells around"),
    "moments": (7 * 4, "memory: seven planes are read once"),
    "regions": (0, "calls on short arrays, and sorting the surround of small superpixels"),
    "statistics": (0, "scattered additions, 10 per cell and scale"),
    "probabilities": (0, "gathers into the maps"),
    "fusion": (0, "calls on short arrays"),
    "colours": (3, "memory"),
    "crf": (0, "the minimum cut, one thread"),
}
WITHOUT_SLIC = [stage for stage in STAGES if stage != "slic"]

Seconds = dict[str, list[float]]  # wall and processor


def photos() -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.float32]]:
    """A photo, another with an ellipse of a foreign photo, and the fingerprint of their camera."""
    own, other = (SimulatedCamera(seed, HEIGHT, WIDTH) for seed in (1, 2))
    y, x = np.ogrid[:HEIGHT, :WIDTH]
    inside = ((y - 0.6 * HEIGHT) / 300) ** 2 + ((x - 0.4 * WIDTH) / 450) ** 2 < 1
    forged = np.where(inside[..., None], other.natural(1), own.natural(0))
    return own.natural(2), forged, own.prnu.copy()


def trained(rgb: torch.Tensor, K: torch.Tensor) -> list[WindowModel]:
    """Predictors from the windows of one photo."""
    W, Z, planes = noise_residual(rgb), K * gray(rgb), feature_planes(rgb)
    models = []
    for size in SIZES:
        rho = ncc_field(W, Z, size, size).flatten()
        features = feature_maps(planes, size, size).reshape(-1, 4)
        predictor = LSEPredictor().fit_features(features, rho, size)
        error = float((rho - predictor.predict_features(features)).std())
        models.append(WindowModel(size, predictor, 1 / size, error, 0.5, len(rho), 1))
    return models


class Stopwatch:
    """Adds up wall and processor seconds per stage."""

    def __init__(self) -> None:
        self.seconds: Seconds = defaultdict(lambda: [0.0, 0.0])

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        wall, processor = time.perf_counter(), time.process_time()
        yield
        self.seconds[stage][0] += time.perf_counter() - wall
        self.seconds[stage][1] += time.process_time() - processor

    def around(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            with self(stage):
                return function(*args, **kwargs)

        return timed


INSIDE = {
    "superpixel_scales": "slic",
    "moments": "moments",
    "regions": "regions",
    "statistics": "statistics",
    "adaptive_window": "fusion",
}


def analyse(
    rgb: torch.Tensor, K: torch.Tensor, chosen: list[WindowModel]
) -> tuple[Seconds, torch.Tensor]:
    """One image from pixels to the decision: seconds per stage, and the decision."""
    watch = Stopwatch()
    with watch("residual"):
        W = noise_residual(rgb)
    with watch("fingerprint"):
        Z = K * gray(rgb)
    signals = Signals(rgb, W, Z)
    with watch("features"):
        _ = signals.features
    with watch("saturation"):
        _ = signals.saturation
    with ExitStack() as patched, watch("multi_slic"):
        for name, stage in INSIDE.items():
            function = watch.around(stage, getattr(slic, name))
            patched.enter_context(mock.patch.object(slic, name, function))
        maps = slic.multi_slic(signals, chosen, STRIDE)
    with watch("colours"):
        colours = crf.rgb_at(rgb, STRIDE)
    with watch("crf"):
        decision = crf.segment(maps.probability, colours, TAU, alpha=0.0)
    seconds = dict(watch.seconds)
    whole = seconds.pop("multi_slic")
    inside = [sum(seconds[stage][k] for stage in INSIDE.values()) for k in (0, 1)]
    seconds["probabilities"] = [whole[k] - inside[k] for k in (0, 1)]
    return seconds, decision


def per_scale(rgb: torch.Tensor) -> list[dict[str, Any]]:
    """Superpixels of one size at a time, one thread each."""
    rows = []
    for size, count in zip(SIZES, segment_counts(HEIGHT, WIDTH, SIZES), strict=True):
        times = []
        for _ in range(RUNS):
            start = time.process_time()
            found = superpixels(rgb, count)
            times.append(time.process_time() - start)
        rows.append(
            {
                "side": size,
                "wanted": count,
                "found": found.count,
                "cell": found.cell,
                "cpu_median_s": statistics.median(times),
            }
        )
    return rows


def summary(runs: list[Seconds], stages: list[str]) -> dict[str, float]:
    """Median over the runs of the time of these stages together."""
    wall, cpu = ([sum(run[stage][k] for stage in stages) for run in runs] for k in (0, 1))
    return {
        "wall_median_s": statistics.median(wall),
        "wall_min_s": min(wall),
        "wall_max_s": max(wall),
        "cpu_median_s": statistics.median(cpu),
    }


def timings(
    rgb: torch.Tensor, K: torch.Tensor, models: list[WindowModel], threads: int
) -> tuple[dict[str, Any], torch.Tensor]:
    """Seconds of every stage on so many threads, and the decision."""
    torch.set_num_threads(threads)
    _, decision = analyse(rgb, K, models)
    runs = [analyse(rgb, K, models)[0] for _ in range(RUNS)]
    return {
        "whole": summary(runs, list(STAGES)),
        "without_slic": summary(runs, WITHOUT_SLIC),
        "stages": {stage: summary(runs, [stage]) for stage in STAGES},
    }, decision


def main() -> None:
    about = machine("torch", "numpy", "scikit-image", "pymaxflow")
    pristine, forged, fingerprint = photos()
    rgb, K = torch.from_numpy(forged), torch.from_numpy(fingerprint)
    models = trained(torch.from_numpy(pristine), K)
    two, decision = timings(rgb, K, models, 2)
    one, _ = timings(rgb, K, models, 1)
    bytes_per_second = bandwidth()
    bounds: dict[str, dict[str, Any]] = {}
    for stage, (per_pixel, bound) in STAGES.items():
        bounds[stage] = {"bound_by": bound}
        if per_pixel:
            moved = per_pixel * HEIGHT * WIDTH
            bounds[stage] |= {"bytes": moved, "limit_by_bandwidth_s": moved / bytes_per_second}
    result = {
        "what": f"a {WIDTH}x{HEIGHT} image from pixels to the decision by M-SLIC and CRF",
        "machine": about,
        "runs": RUNS,
        "two_threads": two,
        "one_thread": one,
        "bounds": bounds,
        "bandwidth_gb_s": bytes_per_second / 1e9,
        "slic_per_scale": per_scale(rgb),
        "tampered": float(decision.float().mean()),
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
