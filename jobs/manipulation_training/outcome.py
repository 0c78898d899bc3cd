"""What is kept and said of a trained network: its file and card, the registry, confusions."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from forensics import __version__, storage
from forensics.evaluate.classes import confusion_matrix, recalls
from forensics.evaluate.plots import confusion_figure
from forensics.manipulation.base import NetworkSettings
from jobs.tracking import Tracker
from jobs.training.models import signature_of
from jobs.training.publish import publish

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
    tags = {key: value for key, value in card.items() if not isinstance(value, dict)}
    signature = signature_of((network.window, network.window), (len(network.classes),))
    published = publish(tracker, output, weights, card, code=_CODE, signature=signature, tags=tags)
    tracker.metrics({f"{name}.{key}": value for key, value in measures.items()})
    title = f"{name}: {measures['accuracy']:.1%} of patches of devices not trained on"
    figure = confusion_figure(confusion, network.classes, title)
    tracker.figure(figure, f"{name}-confusion.png")
    return published
