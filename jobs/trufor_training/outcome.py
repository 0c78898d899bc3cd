"""What is kept and said of a trained network: its file and card, the registry, a sheet."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec

from forensics import __version__, storage
from jobs.tracking import Tracker
from jobs.training.course import finite
from jobs.training.publish import publish
from jobs.trufor_training.sheet import contact_sheet

NAMES: Mapping[int, str] = {1: "noiseprint", 2: "trufor-localization", 3: "trufor"}
"""Of each phase's file in the output and in the registry."""

_CODE = Path(__file__).with_name("network_pyfunc.py")
_MAPS = ("noiseprint", "map", "confidence")


def keep(
    tracker: Tracker, output: str, phase: int, outcome: Mapping[str, Any], about: Mapping[str, Any]
) -> dict[str, Any]:
    """Store, log and register a trained network; returns its card.

    Args:
        tracker: the job's run.
        output: URI of the folder that the files go to, the weights before their card.
        phase: 1, 2 or 3.
        outcome: what the training returned, and the URI of its ``weights``.
        about: what else the card says.
    """
    name = NAMES[phase]
    weights = storage.read(outcome["weights"])
    [best] = [epoch for epoch in outcome["history"] if epoch["number"] == outcome["best"]]
    card = {
        "network": name,
        "phase": phase,
        "sha256": hashlib.sha256(weights).hexdigest(),
        "input": "RGB, 0..255 divided by 256",
        "epochs": len(outcome["history"]),
        "best": finite(best),
        **about,
        "forensics": __version__,
    }
    tags = {key: value for key, value in card.items() if not isinstance(value, dict)}
    published = publish(
        tracker, output, weights, card, code=_CODE, signature=_signature(phase), tags=tags
    )
    tracker.metrics({f"best.{key}": value for key, value in finite(best).items()})
    title = f"{name}: images not trained on"
    tracker.figure(contact_sheet(outcome["samples"], title), "samples.png")
    return published


def _signature(phase: int) -> ModelSignature:
    def plane(name: str, *shape: int) -> TensorSpec:
        return TensorSpec(np.dtype(np.float32), (-1, *shape), name)

    outputs = [plane(name, -1, -1) for name in (_MAPS[:1] if phase == 1 else _MAPS)]
    if phase > 1:
        outputs.append(plane("score"))
    images = TensorSpec(np.dtype(np.uint8), (-1, -1, -1, 3))
    return ModelSignature(Schema([images]), Schema(outputs))
