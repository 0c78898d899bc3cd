"""The trained network applied to one image of any size: the same numbers, less time and memory."""

from forensics.trufor.inference.engine import Engine, Precision

__all__ = ["Engine", "Precision"]
