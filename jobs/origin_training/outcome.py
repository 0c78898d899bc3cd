"""What is kept and said of a trained network: its file and card, the registry, pictures."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forensics import __version__, storage
from forensics.evaluate.classes import balanced, confusion_matrix
from forensics.evaluate.plots import confusion_figure
from forensics.evaluate.study.origin_plots import filters_figure
from forensics.origin.filters import CHANNELS, channel_variances
from forensics.origin.network import NetworkSettings
from forensics.origin.voting import majority
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
    tags = {key: value for key, value in card.items() if not isinstance(value, dict | list)}
    tags |= {key: value for key, value in tested.items() if isinstance(value, float)}
    tags["classes"] = ", ".join(classes)
    signature = signature_of((network.side, network.side, 3), (len(classes),))
    published = publish(tracker, output, weights, card, code=_CODE, signature=signature, tags=tags)
    _log(tracker, card, outcome["filters"])
    return published


def conclusion(card: Mapping[str, Any], network: NetworkSettings) -> str:
    """What the tests say, for people; ``card`` is that of a network."""
    found, missing, scanned = card["tested"], card["not_tested_on"], "as found"
    alike = f" (without {', '.join(missing)})" if missing else ""
    if network.jpeg_quality is not None:
        scanned += f" and compressed at {network.jpeg_quality}, as a scan does,"
    return (
        f"{card['network']}: {found['accuracy']:.1%} of {found['images']} images of other "
        f"sources right, {found['balanced_accuracy']:.1%} with classes alike{alike}; {scanned} "
        f"{card['tested_as_found']['accuracy']:.1%}"
    )


def measured(images: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> dict[str, Any]:
    """Accuracy of patches and, by most votes, of images, and the confusion of images.

    ``balanced_accuracy`` is the mean of the classes' recalls, over the classes that are there.
    """
    labels = [image["label"] for image in images]
    votes = [majority(image["probabilities"]) for image in images]
    confusion = confusion_matrix(labels, [vote.winner for vote in votes], len(classes))
    right = sum(int(vote.table[label]) for label, vote in zip(labels, votes, strict=True))
    patches = sum(len(vote.votes) for vote in votes)
    return {
        "images": len(images),
        "accuracy": float(np.trace(confusion) / len(images)),
        "balanced_accuracy": balanced(confusion),
        "patch_accuracy": right / patches,
        "confusion": confusion.tolist(),
    }


def _log(tracker: Tracker, card: Mapping[str, Any], filters: NDArray[np.float32]) -> None:
    name = card["network"]
    for key in ("tested", "tested_as_found"):
        measures = {k: v for k, v in card[key].items() if isinstance(v, float)}
        tracker.metrics({f"{name}.{key}.{k}": v for k, v in measures.items()})
    tracker.metrics({f"{name}.variance.{c}": v for c, v in card["filter_variance"].items()})
    tested = card["tested"]
    title = f"{name}: {tested['accuracy']:.1%} of {tested['images']} images of other sources"
    figure = confusion_figure(tested["confusion"], card["classes"], title)
    tracker.figure(figure, f"{name}-confusion.png")
    tracker.figure(filters_figure(filters, name), f"{name}-filters.png")
