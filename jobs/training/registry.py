"""Trained predictors in the MLflow registry: safetensors and a card, never a pickle."""

from __future__ import annotations

import json
import tempfile
import warnings
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import torch
from mlflow import MlflowClient
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec
from safetensors.torch import save_file

from forensics import __version__
from forensics.prnu.camera_model import WindowModel
from jobs.tracking import Tracker
from jobs.training.plan import label

_CODE = Path(__file__).with_name("predictor_pyfunc.py")


def register_predictor(tracker: Tracker, camera_id: str, model: WindowModel) -> str:
    """A new version of the camera's predictor, from the tracker's run; returns its URI.

    Its name is such as ``prnu-<camera>-cnn-128-q85``. Whoever loads it needs this package and
    ``mlflow.pyfunc.load_model``; blocks are uint8 (n, window, window, 3).
    """
    client, name = tracker.client, f"prnu-{label(camera_id, model)}"
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
    experiment = client.get_run(tracker.run_id).info.experiment_id
    logged = client.create_logged_model(experiment, name, tracker.run_id)
    with tempfile.TemporaryDirectory() as folder:
        save(Path(folder), model, card)
        client.log_model_artifacts(logged.model_id, str(Path(folder) / "model"))
    client.finalize_logged_model(logged.model_id, "READY")
    _ensure(client, name)
    tags = {key: str(value) for key, value in card.items()}
    version = client.create_model_version(
        name, logged.artifact_location, tracker.run_id, tags, model_id=logged.model_id
    )
    return f"models:/{name}/{version.version}"


def save(folder: Path, model: WindowModel, card: dict[str, Any]) -> None:
    """The MLflow model in ``folder/model``."""
    weights, text = folder / "weights.safetensors", folder / "card.json"
    state = {name: tensor.contiguous() for name, tensor in model.predictor.state().items()}
    save_file(state, weights)
    text.write_text(json.dumps(card, indent=1), encoding="utf-8")
    side = model.window
    with warnings.catch_warnings():  # MLflow advises against type hints and wants an example
        warnings.simplefilter("ignore")
        mlflow.pyfunc.save_model(
            folder / "model",
            python_model=str(_CODE),
            artifacts={"weights": str(weights), "card": str(text)},
            signature=ModelSignature(
                Schema([TensorSpec(np.dtype(np.uint8), (-1, side, side, 3))]),
                Schema([TensorSpec(np.dtype(np.float32), (-1,))]),
            ),
            pip_requirements=[f"forensics=={__version__}", f"torch=={torch.__version__}"],
        )


def _ensure(client: MlflowClient, name: str) -> None:
    if not client.search_registered_models(f"name = '{name}'", max_results=1):
        client.create_registered_model(name)
