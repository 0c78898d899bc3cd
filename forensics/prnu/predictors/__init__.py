"""Predictors of the correlation that an authentic region should show.

Every predictor has the face of `Predictor`: it learns from RGB blocks, predicts for blocks, and
predicts densely for a whole image. Those on hand-made features (`FeaturePredictor`) also take the
features themselves, which are cheaper to come by for many windows at once.
"""

from __future__ import annotations

from typing import Any

from forensics.prnu.predictors.base import FeaturePredictor, Predictor
from forensics.prnu.predictors.cnn import CNNPredictor
from forensics.prnu.predictors.ffn import FFNPredictor
from forensics.prnu.predictors.lse import LSEPredictor

__all__ = [
    "PREDICTORS",
    "CNNPredictor",
    "FFNPredictor",
    "FeaturePredictor",
    "LSEPredictor",
    "Predictor",
]

PREDICTORS: dict[str, type[Any]] = {
    predictor.name: predictor for predictor in (LSEPredictor, FFNPredictor, CNNPredictor)
}
"""Name as written in a camera model -> class."""
