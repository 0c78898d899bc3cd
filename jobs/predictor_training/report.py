"""What is said of a trained predictor: in the output of the job, in MLflow and in its registry."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from forensics.prnu.camera_model import WindowModel
from forensics.text import visible
from jobs.cameras import Skipped
from jobs.predictor_training.plan import Training, label
from jobs.predictor_training.plots import Floats, scatter, thinned
from jobs.predictor_training.registry import register_predictor
from jobs.tracking import Tracker
from jobs.training.course import finite
from jobs.training.reported import Epoch


def describe(epoch: Epoch) -> str:
    """An epoch of a network's training for people."""
    return (
        f"MSE {epoch['train_mse']:.3e}, validation {epoch['validation_mse']:.3e}, "
        f"adjusted R2 {epoch['adjusted_r2']:.3f}"
    )


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
        tracker.metrics(finite({f"{name}.{key}": entry[key] for key in numbers}))
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
        print(f"  {visible(image_id)}: {reason}")
    if result["error"]:
        print(f"  no predictor: {result['error']}")
    for entry in windows:
        print(
            "  window {window:3d} px: adjusted R2 {adjusted_r2:.3f}, sigma0 {sigma0:.4f}, "
            "sigma1 {sigma1:.4f}, {blocks} blocks, {registered}".format(**entry)
        )
