"""Which images are tested on: whole sources, so that no collection is on both sides."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from forensics.records import UserError


def deal(
    labels: Sequence[str], sources: Sequence[str], count: int, seed: int = 0
) -> NDArray[np.int64]:
    """The fold, 0 … ``count`` − 1, of each image; images of a source share one.

    Sources are dealt the largest first, each to the fold that lacks its classes most; the seed
    decides between equals. Every class has a source in at least two folds, so that it is there to
    learn from whichever fold is tested on.

    Raises `UserError` for classes of one source or one image, or that could not be spread.
    """
    if count < 2:
        raise UserError(f"folds must be 2 or more, not {count}")
    totals = Counter(labels)
    of: dict[str, Counter[str]] = {}
    for label, source in zip(labels, sources, strict=True):
        of.setdefault(source, Counter())[label] += 1
    single = sorted(c for c in totals if sum(c in found for found in of.values()) < 2)
    if single:
        raise UserError(
            f"{', '.join(single)}: one image alone, or images of one source (column source); each "
            "class needs two, so that a network is tested on what it was not trained on"
        )
    names = sorted(of)
    order = [names[i] for i in np.random.default_rng(seed).permutation(len(names))]
    order.sort(key=lambda source: -max(of[source][c] / totals[c] for c in of[source]))
    filled = [Counter[str]() for _ in range(count)]
    fold: dict[str, int] = {}
    for source in order:
        needs = [
            sum(of[source][c] * filled[f][c] / totals[c] ** 2 for c in of[source])
            for f in range(count)
        ]
        fold[source] = min(range(count), key=lambda f: (needs[f], sum(filled[f].values())))
        filled[fold[source]] += of[source]
    held = [c for c in totals if max(f[c] for f in filled) == totals[c]]
    if held:
        raise UserError(
            f"the sources of {', '.join(sorted(held))} could not be spread over {count} folds; "
            "try another seed or other folds"
        )
    return np.array([fold[source] for source in sources], np.int64)
