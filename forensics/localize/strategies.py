"""The five ways to choose the pixels that are judged together, behind one name each.

SW-SS: one sliding window. SW-SG: a sliding window that keeps to pixels like its centre. SW-MS:
sliding windows of all sizes, fused. S-SLIC: superpixels of one size. M-SLIC: superpixels of all
sizes, fused. The M-SLIC paper (doi:10.1007/s11042-019-7288-y) compares them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from forensics.localize.guided import segment_guided
from forensics.localize.multiwindow import multi_window
from forensics.localize.signals import LocalMaps, Signals
from forensics.localize.slic import multi_slic, single_slic
from forensics.localize.windows import sliding_window
from forensics.prnu.camera_model import WindowModel
from forensics.records import UserError

Strategy = Literal["sw-ss", "sw-sg", "sw-ms", "s-slic", "m-slic"]

WINDOW = 128  # pixels
SEGMENTS = 700


def localize(
    strategy: Strategy,
    signals: Signals,
    models: Sequence[WindowModel],
    stride: int = 8,
    *,
    window: int = WINDOW,
    segments: int = SEGMENTS,
) -> LocalMaps:
    """Tampering probability of every cell.

    Args:
        strategy: name of the strategy.
        signals: the image and its fingerprint.
        models: predictor and spreads for every window size; SW-SS uses one of them, the others
            interpolate between all.
        stride: side of a cell in pixels.
        window: side of the window of SW-SS and SW-SG in pixels.
        segments: number of superpixels of S-SLIC.

    Raises:
        UserError: SW-SS has no model for its window.
        ValueError: an unknown strategy.
    """
    match strategy:
        case "sw-ss":
            fitting = [model for model in models if model.window == window]
            if not fitting:
                sizes = ", ".join(str(model.window) for model in models)
                raise UserError(f"no predictor for windows of {window} px; there are: {sizes}")
            return sliding_window(signals, fitting[0], stride)
        case "sw-sg":
            return segment_guided(signals, models, stride, window)
        case "sw-ms":
            return multi_window(signals, models, stride)
        case "s-slic":
            return single_slic(signals, models, stride, segments)
        case "m-slic":
            return multi_slic(signals, models, stride)
    raise ValueError(f"unknown strategy {strategy!r}")
