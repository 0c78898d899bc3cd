"""Scan archives of images for forgeries. The library: no Ray, no MLflow in here."""

__version__ = "0.1.0"
