"""What MLflow runs when a registered origin network is loaded.

MLflow copies this file into the model ("models from code"), so nothing is pickled.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import numpy as np

from forensics.origin import weights
from forensics.origin.judge import predictor


class Network(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """Class probabilities of RGB patches."""

    # MLflow would check the input by type hints that cannot say what the signature says.
    _skip_type_hint_validation = True

    def load_context(self, context: Any) -> None:
        """Read the weights; ``context.artifacts`` has the paths of ``weights`` and ``card``."""
        path = context.artifacts["weights"]
        self._predict = predictor(weights.from_bytes(Path(path).read_bytes(), path).network)

    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
        """float32 (n, classes) for uint8 (n, side, side, 3) patches; the card names the classes."""
        return self._predict(np.ascontiguousarray(model_input))


mlflow.models.set_model(Network())
