"""An image judged by its patches, by the network or by a baseline."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from forensics.origin.network import OriginNetwork, probabilities
from forensics.origin.patches import PatchSettings, Selection, cut, select
from forensics.records import Rgb

Predict = Callable[[Rgb], NDArray[np.float32]]
"""uint8 (n, side, side, 3) patches to class probabilities, float32 (n, classes)."""

_BATCH = 64  # patches cut at once


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """The patches of an image and what was made of them."""

    selection: Selection
    probabilities: NDArray[np.float32]  # (n, classes)


def judge(rgb: Rgb, settings: PatchSettings, predict: Predict, seed: int | list[int] = 0) -> Judged:
    """Draw the patches of an image, uint8 (H, W, 3), and ask ``predict`` for each.

    Raises `NotApplicable` as `select` does.
    """
    selection = select(rgb, settings, seed)
    parts = [
        predict(cut(rgb, selection.corners[start : start + _BATCH], settings.side))
        for start in range(0, len(selection.corners), _BATCH)
    ]
    return Judged(selection, np.concatenate(parts))


def predictor(network: OriginNetwork) -> Predict:
    """The network as a function of patches; it must be in eval mode."""

    def predict(patches: Rgb) -> NDArray[np.float32]:
        found: NDArray[np.float32] = probabilities(network, torch.from_numpy(patches)).numpy()
        return found

    return predict
