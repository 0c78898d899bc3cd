"""How a classifier's penalty is chosen: by the patches of devices left out that it tells right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import GroupKFold

_FOLDS = 8

Fold = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Numbers of the patches to learn from, and of those left out."""


def device_folds(devices: NDArray[Any]) -> Sequence[Fold]:
    """Folds of patches by their devices (n,), as many as devices, 8 at most; none for one device.

    Each patch is left out once, together with all others of its device.
    """
    folds = min(_FOLDS, len(np.unique(devices)))
    if folds < 2:
        return ()
    return list(GroupKFold(folds).split(devices, groups=devices))


def device_accuracy(
    said: NDArray[np.int64], labels: NDArray[np.int64], devices: NDArray[Any]
) -> float:
    """Part of the patches (n,) that are told right, 0..1, mean over devices.

    Not their loss: one device whose scores lie beside the others' would have it ask for weights
    near 0, with which no device is told well.
    """
    right = said == labels
    return float(np.mean([right[devices == device].mean() for device in np.unique(devices)]))
