"""Weights from the MLflow registry: ``models:/name/version`` wherever a file of weights is due.

Workers read files, not registries: the driver copies what the registry holds to a folder that they
reach, under a name that follows from its content, before they start.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any, TypeVar

import mlflow
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from forensics import storage
from forensics.config import Settings
from forensics.records import UserError
from forensics.redact import redact

S = TypeVar("S", bound=Settings)

_URI = re.compile(r"models:/([^/@]+)(?:/(\d+)|@([^/@]+))")
_FILE = "artifacts/weights.safetensors"  # as jobs.training.models saves it


def resolved(settings: S, store: str, folder: str) -> S:
    """The settings with the URI of a file in place of every ``models:/``.

    Args:
        settings: of any job; all their values are looked at.
        store: URI of the MLflow store.
        folder: URI of the folder that the files go to.

    Raises:
        UserError: a model that the registry does not have, or that holds no weights of ours.
    """
    values = settings.model_dump()
    changed = _walk(values, store, folder)
    return settings if changed == values else type(settings).model_validate(changed)


def checkpoint(uri: str, folder: str, store: str | None = None) -> str:
    """The URI of a file with the weights of a registered model, for the library to read.

    ``TruFor.from_checkpoint(checkpoint("models:/trufor/1", "weights"))``

    Args:
        uri: ``models:/name/version`` or ``models:/name@alias``; of a file it is returned as it is.
        folder: URI of the folder that the file goes to, under a name that follows from its content.
        store: URI of the MLflow store [as MLflow is set up, by ``MLFLOW_TRACKING_URI``].

    Raises:
        UserError: a model that the registry does not have, or that holds no weights of ours.
    """
    path: str = _walk(uri, store or mlflow.get_tracking_uri(), folder)
    return path


def _walk(value: Any, store: str, folder: str) -> Any:
    if isinstance(value, dict):
        return {key: _walk(inner, store, folder) for key, inner in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(_walk(inner, store, folder) for inner in value)
    if isinstance(value, str) and value.startswith("models:/"):
        return _copied(value, store, folder)
    return value


def _copied(uri: str, store: str, folder: str) -> str:
    """The URI of the file with the weights of a registered model."""
    version = _version(uri, store)
    try:
        source = MlflowClient(store).get_model_version_download_uri(version.name, version.version)
        path = mlflow.artifacts.download_artifacts(f"{source}/{_FILE}", tracking_uri=store)
        data = Path(path).read_bytes()
    except (MlflowException, OSError) as error:
        reason = redact(str(error).partition("\n")[0])
        raise UserError(f"{uri}: no {_FILE} can be read from it: {reason}") from None
    sha256 = hashlib.sha256(data).hexdigest()
    if version.tags.get("sha256", sha256) != sha256:
        raise UserError(f"{uri}: its weights are not those that were registered (SHA-256 differs)")
    name = f"{version.name}-{version.version}-{sha256[:16]}.safetensors"
    target = storage.join(folder, name)
    storage.write_if_absent(target, data)
    return target


def _version(uri: str, store: str) -> ModelVersion:
    parts = _URI.fullmatch(uri)
    if parts is None:
        raise UserError(
            f"{uri}: a registered model is written models:/name/version or models:/name@alias"
        )
    name, number, alias = parts.groups()
    client = MlflowClient(store)
    try:
        if number is not None:
            return client.get_model_version(name, number)
        return client.get_model_version_by_alias(name, alias)
    except MlflowException as error:
        reason = redact(str(error).partition("\n")[0])
        raise UserError(
            f"{uri}: MLflow at {redact(store)} does not have it: {reason}. Check tracking.uri or "
            "MLFLOW_TRACKING_URI."
        ) from None
