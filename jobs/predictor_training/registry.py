"""Trained predictors in the MLflow registry."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import safetensors.torch

from forensics import __version__
from forensics.prnu.camera_model import WindowModel
from jobs.predictor_training.plan import label
from jobs.tracking import Tracker
from jobs.training.models import register, save_model, signature_of

_CODE = Path(__file__).with_name("predictor_pyfunc.py")


def register_predictor(tracker: Tracker, camera_id: str, model: WindowModel) -> str:
    """A new version of the camera's predictor, from the tracker's run; returns its URI.

    Its name is such as ``prnu-<camera>-cnn-128-q85``. Whoever loads it needs this package and
    ``mlflow.pyfunc.load_model``; blocks are uint8 (n, window, window, 3).
    """
    name = f"prnu-{label(camera_id, model)}"
    card = {
        "camera_id": camera_id,
        "predictor": model.predictor.name,
        "window": model.window,
        "jpeg_quality": model.jpeg_quality,
        "image_gain": model.image_gain,
        "sigma0": model.sigma0,
        "sigma1": model.sigma1,
        "adjusted_r2": model.adjusted_r2,
        "blocks": model.blocks,
        "images": model.images,
        "forensics": __version__,
    }
    return register(tracker, name, card, lambda folder: save(folder, model, card))


def save(folder: Path, model: WindowModel, card: dict[str, Any]) -> None:
    """The MLflow model in ``folder/model``."""
    state = {name: tensor.contiguous() for name, tensor in model.predictor.state().items()}
    side = model.window
    save_model(folder, _CODE, safetensors.torch.save(state), card, signature_of((side, side, 3)))
