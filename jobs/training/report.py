"""What is said of a trained predictor: in the output of the job, in MLflow and in its registry."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

from forensics.prnu.camera_model import WindowModel
from jobs.cameras import Skipped
from jobs.progress import LINE_SECONDS
from jobs.tracking import Tracker
from jobs.training.plan import Training, label
from jobs.training.plots import Floats, scatter, thinned
from jobs.training.registry import register_predictor
from jobs.training.run import Epoch

_COURSE = ("train_mse", "validation_mse", "adjusted_r2", "lr")


class Course:
    """The epochs of a training as they come: a line now and then, every one in MLflow once."""

    def __init__(self, tracker: Tracker, training: Training, epochs: int) -> None:
        self._tracker, self._name, self._epochs = tracker, training.name, epochs
        self._said = -math.inf
        before = tracker.client.get_metric_history(tracker.run_id, f"{self._name}.train_mse")
        self._logged = {metric.step for metric in before}  # by a job that was killed

    def add(self, epoch: Epoch) -> None:
        """An epoch that just ended."""
        self.log(epoch)
        now = time.monotonic()
        if now - self._said >= LINE_SECONDS or epoch["number"] == self._epochs:
            self._said = now
            print(
                f"{self._name}: epoch {epoch['number']}/{self._epochs}, "
                f"MSE {epoch['train_mse']:.3e}, validation {epoch['validation_mse']:.3e}, "
                f"adjusted R2 {epoch['adjusted_r2']:.3f}, lr {epoch['lr']:.1e}",
                flush=True,
            )

    def log(self, epoch: Epoch) -> None:
        """An epoch, unless it is known already."""
        if epoch["number"] not in self._logged:
            self._logged.add(epoch["number"])
            values = {f"{self._name}.{key}": epoch[key] for key in _COURSE}
            self._tracker.metrics(_finite(values), step=epoch["number"])


def report(
    tracker: Tracker,
    training: Training,
    windows: Sequence[WindowModel],
    skipped: Sequence[Skipped],
    points: tuple[int, Floats, Floats],
) -> dict[str, Any]:
    """Log and register what was trained. ``points``: a window size and, for its blocks, real and
    predicted correlations. Returns the result as it is kept."""
    side, rho, rho_hat = points
    entries = []
    for window in windows:
        name = label(training.camera_id, window)
        entry: dict[str, Any] = {
            "name": name,
            "window": window.window,
            "adjusted_r2": window.adjusted_r2,
            "mse": window.sigma1**2,
            "sigma0": window.sigma0,
            "sigma1": window.sigma1,
            "blocks": window.blocks,
            "images": window.images,
            "registered": register_predictor(tracker, training.camera_id, window),
        }
        numbers = ("adjusted_r2", "mse", "sigma0", "sigma1")
        tracker.metrics(_finite({f"{name}.{key}": entry[key] for key in numbers}))
        if window.window == side:
            figure = scatter(name, *thinned(rho, rho_hat), window.adjusted_r2)
            tracker.figure(figure, f"scatter/{name}.png")
        entries.append(entry)
    return {**failure(training, skipped, None), "windows": entries}


def failure(training: Training, skipped: Sequence[Skipped], reason: str | None) -> dict[str, Any]:
    """The result of a training without predictors."""
    return {
        "name": training.name,
        "camera_id": training.camera_id,
        "skipped": {image.image_id: image.reason for image in skipped},
        "windows": [],
        "error": reason,
    }


def say(result: dict[str, Any]) -> None:
    """The result for people."""
    skipped, windows = result["skipped"], result["windows"]
    images = max((entry["images"] for entry in windows), default=0)
    print(f"{result['name']}: {images} photos, {len(skipped)} not used")
    for image_id, reason in skipped.items():
        print(f"  {image_id}: {reason}")
    if result["error"]:
        print(f"  no predictor: {result['error']}")
    for entry in windows:
        print(
            "  window {window:3d} px: adjusted R2 {adjusted_r2:.3f}, sigma0 {sigma0:.4f}, "
            "sigma1 {sigma1:.4f}, {blocks} blocks, {registered}".format(**entry)
        )


def _finite(values: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in values.items() if math.isfinite(value)}
