"""What MLflow runs when a registered TruFor or Noiseprint++ is loaded.

MLflow copies this file into the model ("models from code"), so nothing is pickled.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import torch
from numpy.typing import NDArray

from forensics.trufor.checkpoint import load_noiseprint
from forensics.trufor.model import SCALE
from forensics.trufor.predictor import TruFor

Examine = Callable[[NDArray[np.uint8]], dict[str, NDArray[np.float32]]]


class Network(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """Maps of RGB images."""

    # MLflow would check the input by type hints that cannot say what the signature says.
    _skip_type_hint_validation = True

    def load_context(self, context: Any) -> None:
        """Read the weights; ``context.artifacts`` has the paths of ``weights`` and ``card``."""
        card = json.loads(Path(context.artifacts["card"]).read_text(encoding="utf-8"))
        data = Path(context.artifacts["weights"]).read_bytes()
        self._examine = _noiseprint(data) if card["phase"] == 1 else _trufor(data)

    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
        """For uint8 (n, H, W, 3) images, float32: ``noiseprint`` (n, H, W) and, but for phase 1,
        ``map`` and ``confidence`` of the same shape and ``score`` (n,)."""
        found = [self._examine(image) for image in np.ascontiguousarray(model_input)]
        return {name: np.stack([each[name] for each in found]) for name in found[0]}


def _noiseprint(data: bytes) -> Examine:
    network = load_noiseprint(data)

    @torch.no_grad()
    def examine(rgb: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        pixels = torch.from_numpy(rgb).movedim(-1, 0)[None].float() / SCALE
        return {"noiseprint": network(pixels)[0, 0].numpy()}

    return examine


def _trufor(data: bytes) -> Examine:
    trufor = TruFor.from_bytes(data)

    def examine(rgb: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        found = asdict(trufor.predict(rgb))
        return {name: np.asarray(value, np.float32) for name, value in found.items()}

    return examine


mlflow.models.set_model(Network())
