"""What MLflow runs when a registered manipulation network is loaded.

MLflow copies this file into the model ("models from code"), so nothing is pickled.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import torch

from forensics.manipulation import weights

_BATCH = 32


class Network(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """Class probabilities of green patches."""

    # MLflow would check the input by type hints that cannot say what the signature says.
    _skip_type_hint_validation = True

    def load_context(self, context: Any) -> None:
        """Read the weights; ``context.artifacts`` has the paths of ``weights`` and ``card``."""
        path = context.artifacts["weights"]
        self._network = weights.from_bytes(Path(path).read_bytes(), path).network

    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
        """float32 (n, classes) for uint8 (n, H, W) patches; the classes are those of the card."""
        patches = torch.from_numpy(np.ascontiguousarray(model_input))
        with torch.inference_mode():
            parts = [self._network(part) for part in torch.split(patches, _BATCH)]
            return torch.softmax(torch.cat(parts), 1).numpy()


mlflow.models.set_model(Network())
