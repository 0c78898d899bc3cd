"""A trained network for others: its file and card in the output, a version in the registry."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlflow.models import ModelSignature

from forensics import storage
from jobs.entry import begun
from jobs.tracking import Tracker
from jobs.training.models import register, save_model


def publish(
    tracker: Tracker,
    output: str,
    weights: bytes,
    card: Mapping[str, Any],
    *,
    code: Path,
    signature: ModelSignature,
    tags: Mapping[str, Any],
) -> dict[str, Any]:
    """Store, log and register a network; returns its card with the URI it is ``registered`` at.

    Args:
        tracker: the job's run.
        output: URI of the folder that the files go to, the weights before their card.
        weights: the safetensors file.
        card: what is known of it, ready for JSON; ``network`` names the files and the model.
        code: the file that MLflow runs when the model is loaded.
        signature: of the model.
        tags: of the registered version.
    """
    name, text = str(card["network"]), json.dumps(card, indent=1)
    with begun():  # trained for hours: the checkpoints stay until this is done
        storage.write(storage.join(output, f"{name}.safetensors"), weights)
        storage.write(storage.join(output, f"{name}.json"), text.encode())
        tracker.text(text, f"{name}.json")
        registered = register(
            tracker, name, tags, lambda folder: save_model(folder, code, weights, card, signature)
        )
    return {**card, "registered": registered}
