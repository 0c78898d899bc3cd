"""Order statistics: how often an image scores above the k-th highest of n pristine ones.

For scores that do not repeat, the share of all pristine images above the k-th highest of n is
distributed as Beta(k, n - k + 1) (Wilks 1941, doi:10.1214/aoms/1177731788), whatever the scores
are; how many of m further ones are above it follows the negative hypergeometric distribution.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from scipy.special import betaincinv, gammaln


class Estimate(NamedTuple):
    """A number to expect, and the interval that holds the true one with the stated confidence."""

    expected: float
    low: float
    high: float


def exact(rate: float) -> Fraction:
    """The rate as it is written: 0.07 is 7/100, which the nearest float is not."""
    return Fraction(str(rate))


def rank(rate: Fraction, pristine: int) -> int:
    """k: flagging what is above the k-th highest of ``pristine`` scores keeps to ``rate``.

    The largest k with k / (pristine + 1) <= rate; 0 where there are too few images for any.
    """
    return min(math.floor(rate * (pristine + 1)), pristine)


def images_needed(rate: Fraction) -> int:
    """The fewest pristine images that a rate can be calibrated with."""
    return max(1, math.ceil(1 / rate) - 1)


def true_rate(k: int, n: int, above: int, confidence: float) -> Estimate:
    """Share of all pristine images above the k-th highest of n, 0..1.

    Args:
        k: rank of the threshold, 1..n.
        n: pristine images.
        above: how many of them are above the threshold: k - 1, fewer where scores repeat at it.
        confidence: of the interval, which leaves out as much on either side.

    Where scores repeat, ``expected`` and ``high`` are upper bounds, and ``low`` a lower one.
    """
    tail = (1 - confidence) / 2
    fewest = _fewest(k, above)
    low = float(betaincinv(fewest, n - fewest + 1, tail)) if fewest else 0.0
    return Estimate(k / (n + 1), low, float(betaincinv(k, n - k + 1, 1 - tail)))


def false_alarms(k: int, n: int, above: int, images: int, confidence: float) -> Estimate:
    """How many of ``images`` further pristine images are above the k-th highest of n.

    Arguments as for `true_rate`. The interval counts both chances: of the calibration's images and
    of the further ones.
    """
    tail = (1 - confidence) / 2
    fewest = _fewest(k, above)
    low = _quantile(tail, fewest, n, images) if fewest else 0
    return Estimate(images * k / (n + 1), low, _quantile(1 - tail, k, n, images))


def _fewest(k: int, above: int) -> int:
    """The rank that bounds the rate from below: k itself unless scores repeat at the threshold."""
    return k if above == k - 1 else above


def _quantile(q: float, k: int, n: int, images: int) -> int:
    """The smallest c such that at most c images are above the k-th highest with probability q."""
    low, high = 0, images
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if _at_most(middle, k, n, images) >= q else (middle + 1, high)
    return low


def _at_most(c: int, k: int, n: int, images: int) -> float:
    """P(at most c of the images are above the k-th highest of n).

    So many are if the k + c highest of all n + images hold k or more of the n.
    """
    drawn = k + c
    i = np.arange(max(0, drawn - images), min(k, drawn + 1), dtype=np.float64)
    logs = _choose(n, i) + _choose(images, drawn - i) - _choose(n + images, np.float64(drawn))
    return 1.0 - float(np.exp(logs).sum())


def _choose(n: int, i: np.ndarray | np.float64) -> np.ndarray:
    """Logarithm of the binomial coefficient."""
    found: np.ndarray = gammaln(n + 1.0) - gammaln(i + 1.0) - gammaln(n - i + 1.0)
    return found
