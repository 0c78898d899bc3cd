"""Models in the MLflow registry: safetensors, a card, and code that reads them, never a pickle."""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import torch
from mlflow import MlflowClient
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec

from forensics import __version__
from jobs.tracking import Tracker, answering


def register(
    tracker: Tracker, name: str, card: Mapping[str, Any], save_to: Callable[[Path], None]
) -> str:
    """A new version of a model, from the tracker's run; returns its URI.

    ``save_to`` puts the MLflow model into ``model`` of the folder it is given; the card becomes the
    version's tags. Raises `UserError` where MLflow does not answer.
    """
    with answering(tracker.store, f"cannot register {name}: "):
        return _register(tracker, name, card, save_to)


def _register(
    tracker: Tracker, name: str, card: Mapping[str, Any], save_to: Callable[[Path], None]
) -> str:
    client = tracker.client
    experiment = client.get_run(tracker.run_id).info.experiment_id
    logged = client.create_logged_model(experiment, name, tracker.run_id)
    with tempfile.TemporaryDirectory() as folder:
        save_to(Path(folder))
        client.log_model_artifacts(logged.model_id, str(Path(folder) / "model"))
    client.finalize_logged_model(logged.model_id, "READY")
    _ensure(client, name)
    tags = {key: str(value) for key, value in card.items()}
    version = client.create_model_version(
        name, logged.artifact_location, tracker.run_id, tags, model_id=logged.model_id
    )
    return f"models:/{name}/{version.version}"


def save_model(
    folder: Path, code: Path, weights: bytes, card: Mapping[str, Any], signature: ModelSignature
) -> None:
    """An MLflow model in ``folder/model``: ``code`` reads the artifacts ``weights`` (safetensors)
    and ``card`` (JSON) when the model is loaded."""
    stored, text = folder / "weights.safetensors", folder / "card.json"
    stored.write_bytes(weights)
    text.write_text(json.dumps(card, indent=1), encoding="utf-8")
    with warnings.catch_warnings():  # MLflow advises against type hints and wants an example
        warnings.simplefilter("ignore")
        mlflow.pyfunc.save_model(
            folder / "model",
            python_model=str(code),
            artifacts={"weights": str(stored), "card": str(text)},
            signature=signature,
            pip_requirements=[f"forensics=={__version__}", f"torch=={torch.__version__}"],
        )


def signature_of(taken: Sequence[int], given: Sequence[int] = ()) -> ModelSignature:
    """uint8 (n, ``*taken``) in, float32 (n, ``*given``) out."""
    patches = TensorSpec(np.dtype(np.uint8), (-1, *taken))
    answers = TensorSpec(np.dtype(np.float32), (-1, *given))
    return ModelSignature(Schema([patches]), Schema([answers]))


def _ensure(client: MlflowClient, name: str) -> None:
    if not client.search_registered_models(f"name = '{name}'", max_results=1):
        client.create_registered_model(name)
