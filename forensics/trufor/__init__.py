"""TruFor: trustworthy image forgery detection and localization from all-round clues."""

from forensics.trufor.checkpoint import initialise_encoder, load_noiseprint
from forensics.trufor.model import TruForNetwork, TruForSettings
from forensics.trufor.predictor import Prediction, TruFor

__all__ = [
    "Prediction",
    "TruFor",
    "TruForNetwork",
    "TruForSettings",
    "initialise_encoder",
    "load_noiseprint",
]
