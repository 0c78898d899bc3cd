"""What is kept and said of a trained network: its file and card, the registry, confusions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec
from numpy.typing import NDArray

from forensics import __version__, storage
from forensics.manipulation.base import NetworkSettings
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
    truth, said = outcome["truth"], outcome["probabilities"].argmax(1)
    confusion = confusion_matrix(truth, said, len(network.classes))
    measures = {
        "accuracy": float((truth == said).mean()),
        **{
            f"recall.{c}": float(r)
            for c, r in zip(network.classes, recalls(confusion), strict=True)
        },
    }
    card = {
        "network": name,
        "classes": list(network.classes),
        "window": network.window,
        "sha256": hashlib.sha256(weights).hexdigest(),
        "input": "green channel, 0..255 divided by 255",
        "epochs": len(outcome["history"]),
        "training_patches": outcome["patches"],
        "test_patches": len(truth),
        **measures,
        "by_device": {
            str(device): float((truth == said)[outcome["devices"] == device].mean())
            for device in np.unique(outcome["devices"])
        },
        **about,
        "forensics": __version__,
    }
    text = json.dumps(card, indent=1)
    storage.write(storage.join(output, f"{name}.safetensors"), weights)
    storage.write(storage.join(output, f"{name}.json"), text.encode())
    tracker.metrics({f"{name}.{key}": value for key, value in measures.items()})
    tracker.text(text, f"{name}.json")
    title = f"{name}: {measures['accuracy']:.1%} of patches of devices not trained on"
    figure = confusion_figure(confusion, network.classes, title)
    tracker.figure(figure, f"{name}-confusion.png")
    tags = {key: value for key, value in card.items() if not isinstance(value, dict)}
    registered = register(
        tracker,
        name,
        tags,
        lambda folder: save_model(folder, _CODE, weights, card, _signature(network)),
    )
    return {**card, "registered": registered}


def confusion_matrix(
    truth: NDArray[np.int64], said: NDArray[np.int64], classes: int
) -> NDArray[np.int64]:
    """(classes, classes) counts: rows are true classes, columns those that were said."""
    counts = np.bincount(truth * classes + said, minlength=classes**2)
    return counts.reshape(classes, classes)


def recalls(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """Part of each class that was called so, (classes,); 0 for a class without patches."""
    recall: NDArray[np.float64] = np.diag(confusion) / np.maximum(confusion.sum(1), 1)
    return recall


def confusion_figure(confusion: NDArray[np.int64], classes: tuple[str, ...], title: str) -> Figure:
    """The matrix as a picture, in parts of each true class."""
    shares = confusion / np.maximum(confusion.sum(1, keepdims=True), 1)
    side = 2.5 + 0.45 * len(classes)
    figure = Figure(figsize=(side + 0.5, side), layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares, vmin=0, vmax=1, cmap="Blues")
    ticks = range(len(classes))
    axes.set_xticks(ticks, classes, rotation=90)
    axes.set_yticks(ticks, classes)
    axes.set(xlabel="said", ylabel="true", title=title)
    for (row, column), share in np.ndenumerate(shares):
        if share >= 0.005:
            colour = "white" if share > 0.5 else "black"
            text = f"{100 * share:.0f}"
            axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=8)
    return figure


def _signature(network: NetworkSettings) -> ModelSignature:
    side = network.window
    patches = TensorSpec(np.dtype(np.uint8), (-1, side, side))
    shares = TensorSpec(np.dtype(np.float32), (-1, len(network.classes)))
    return ModelSignature(Schema([patches]), Schema([shares]))
