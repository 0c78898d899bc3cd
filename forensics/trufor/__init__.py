"""TruFor: trustworthy image forgery detection and localization from all-round clues."""

from forensics.trufor.predictor import Prediction, TruFor

__all__ = ["Prediction", "TruFor"]
