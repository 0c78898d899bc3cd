"""What is kept and said of a trained network: its file and card, the registry, pictures."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec

from forensics import __version__, storage
from forensics.evaluate.study.origin_plots import confusion_figure, filters_figure
from forensics.origin.filters import CHANNELS, channel_variances
from forensics.origin.network import NetworkSettings
from forensics.origin.voting import majority
from jobs.tracking import Tracker
from jobs.training.models import register, save_model

_CODE = Path(__file__).with_name("network_pyfunc.py")


def keep(
    tracker: Tracker,
    output: str,
    name: str,
    network: NetworkSettings,
    outcome: Mapping[str, Any],
    about: Mapping[str, Any],
) -> dict[str, Any]:
    """Store, log and register a trained network; returns its card.

    Args:
        tracker: the job's run.
        output: URI of the folder that the files go to, the weights before their card.
        name: of the files and in the registry.
        network: what it tells apart.
        outcome: what the training returned, and the URI of its ``weights``.
        about: what else the card says.
    """
    weights = storage.read(outcome["weights"])
    classes = network.classes
    tested, as_found = (measured(outcome[key], classes) for key in ("tested", "as_found"))
    variances = channel_variances(outcome["filters"]).tolist()
    card = {
        "network": name,
        **network.model_dump(mode="json"),
        "sha256": hashlib.sha256(weights).hexdigest(),
        "input": "RGB, 0..255; brought to ImageNet's mean and deviation inside",
        "epochs": len(outcome["history"]),
        "training_patches": outcome["patches"],
        "tested": tested,
        "tested_as_found": as_found,
        "filter_variance": dict(zip(CHANNELS, variances, strict=True)),
        **about,
        "forensics": __version__,
    }
    text = json.dumps(card, indent=1)
    storage.write(storage.join(output, f"{name}.safetensors"), weights)
    storage.write(storage.join(output, f"{name}.json"), text.encode())
    _log(tracker, name, card, outcome, text)
    tags = {key: value for key, value in card.items() if not isinstance(value, dict | list)}
    tags |= {key: value for key, value in tested.items() if isinstance(value, float)}
    tags["classes"] = ", ".join(classes)
    registered = register(
        tracker,
        name,
        tags,
        lambda folder: save_model(folder, _CODE, weights, card, _signature(network)),
    )
    return {**card, "registered": registered}


def measured(images: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> dict[str, Any]:
    """Accuracy of patches and, by most votes, of images, and the confusion of images.

    ``balanced_accuracy`` is the mean of the classes' recalls, over the classes that are there.
    """
    confusion = np.zeros((len(classes), len(classes)), np.int64)
    right = patches = 0
    for image in images:
        vote = majority(image["probabilities"])
        confusion[image["label"], vote.winner] += 1
        right += int(vote.table[image["label"]])
        patches += len(vote.votes)
    counts = confusion.sum(1)
    recalls = np.diag(confusion)[counts > 0] / counts[counts > 0]
    return {
        "images": len(images),
        "accuracy": float(np.trace(confusion) / len(images)),
        "balanced_accuracy": float(recalls.mean()),
        "patch_accuracy": right / patches,
        "confusion": confusion.tolist(),
    }


def _log(
    tracker: Tracker, name: str, card: Mapping[str, Any], outcome: Mapping[str, Any], text: str
) -> None:
    tracker.text(text, f"{name}.json")
    for key in ("tested", "tested_as_found"):
        measures = {k: v for k, v in card[key].items() if isinstance(v, float)}
        tracker.metrics({f"{name}.{key}.{k}": v for k, v in measures.items()})
    tracker.metrics({f"{name}.variance.{c}": v for c, v in card["filter_variance"].items()})
    tested = card["tested"]
    title = f"{name}: {tested['accuracy']:.1%} of {tested['images']} images of other sources"
    figure = confusion_figure(tested["confusion"], card["classes"], title)
    tracker.figure(figure, f"{name}-confusion.png")
    tracker.figure(filters_figure(outcome["filters"], name), f"{name}-filters.png")


def _signature(network: NetworkSettings) -> ModelSignature:
    side = network.side
    patches = TensorSpec(np.dtype(np.uint8), (-1, side, side, 3))
    shares = TensorSpec(np.dtype(np.float32), (-1, len(network.classes)))
    return ModelSignature(Schema([patches]), Schema([shares]))
