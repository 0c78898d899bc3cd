"""From the patches to the image: each has one vote, and most votes win."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forensics.records import NotApplicable

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Vote:
    """What the patches of an image say together."""

    winner: int  # number of the class
    table: NDArray[np.int64]  # (classes,) votes
    votes: NDArray[np.int64]  # (n,) the class that each patch is for
    probabilities: Floats  # (classes,) mean over the patches
    tied: bool  # whether another class has as many votes


def majority(probabilities: Floats, minimum: int = 1) -> Vote:
    """Majority vote of the patches (section 2 of the paper).

    A patch votes for its most probable class, for the first of them if several are. Among classes
    with equally many votes the one with the larger mean probability wins, and the first of those.

    Args:
        probabilities: (n, classes) of each patch.
        minimum: fewest patches that may judge an image.

    Raises:
        NotApplicable: fewer patches than that.
        ValueError: no probabilities (n, classes).
    """
    if probabilities.ndim != 2 or probabilities.shape[1] < 2:
        raise ValueError(f"probabilities must be (n, classes), not {probabilities.shape}")
    count, classes = probabilities.shape
    if count < max(minimum, 1):
        raise NotApplicable(f"it gives {count} patches, {max(minimum, 1)} are needed to judge it")
    votes = probabilities.argmax(1)
    table = np.bincount(votes, minlength=classes)
    mean = probabilities.mean(0, dtype=np.float64)
    most = table == table.max()
    winner = int(np.where(most, mean, -1).argmax())
    return Vote(winner, table, votes, mean.astype(np.float32), bool(most.sum() > 1))
