"""What MLflow runs when a registered predictor is loaded: weights and card in, predictions out.

MLflow copies this file into the model ("models from code"), so nothing is pickled.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
from safetensors.torch import load_file

from forensics.prnu.predictors import PREDICTORS


class CorrelationPredictor(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """Predictor of a camera's correlations for RGB blocks."""

    # MLflow would check the input by type hints that cannot say what the signature says.
    _skip_type_hint_validation = True

    def load_context(self, context: Any) -> None:
        """Read the weights; ``context.artifacts`` has the paths of ``weights`` and ``card``."""
        card = json.loads(Path(context.artifacts["card"]).read_text(encoding="utf-8"))
        state = load_file(context.artifacts["weights"])
        self._predictor = PREDICTORS[card["predictor"]].from_state(state)

    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
        """float32 (n,) for uint8 (n, window, window, 3) blocks."""
        return self._predictor.predict(np.ascontiguousarray(model_input))


mlflow.models.set_model(CorrelationPredictor())
