"""Order statistics against SciPy's distributions, small exact cases and draws."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from scipy.stats import betabinom, binomtest

from forensics.calibration.rates import exact, false_alarms, images_needed, rank, true_rate


def test_a_rate_is_what_is_written() -> None:
    assert exact(0.07) == Fraction(7, 100)
    assert rank(exact(0.29), 99) == 29  # the nearest float times 100 is 28.999999999999996
    assert rank(exact(0.01), 98) == 0
    assert rank(exact(0.01), 99) == 1
    assert rank(exact(0.999), 3) == 3  # of three scores there is no fourth highest


@pytest.mark.parametrize("rate", [0.5, 0.3, 0.05, 0.01, 0.001, 0.007])
def test_the_images_needed_are_the_fewest(rate: float) -> None:
    needed = images_needed(exact(rate))
    assert rank(exact(rate), needed) >= 1
    assert needed == 1 or rank(exact(rate), needed - 1) == 0


def test_the_rate_above_the_highest_of_a_few_is_known_in_closed_form() -> None:
    found = true_rate(1, 99, 0, 0.95)  # Beta(1, 99): 1 - (1 - q) ** (1 / 99)
    assert found.expected == 1 / 100
    assert found.low == pytest.approx(1 - 0.975 ** (1 / 99))
    assert found.high == pytest.approx(1 - 0.025 ** (1 / 99))


def test_where_scores_repeat_the_bounds_are_those_of_a_count() -> None:
    """3 of 50 above, 7 at the threshold: Clopper and Pearson's lower bound of 3 of 50."""
    found = true_rate(10, 50, 3, 0.9)
    assert found.low == pytest.approx(binomtest(3, 50).proportion_ci(0.9, "exact").low)
    assert found.high == true_rate(10, 50, 9, 0.9).high
    assert true_rate(5, 50, 0, 0.9).low == 0


@pytest.mark.parametrize(("k", "n", "images"), [(1, 99, 40), (5, 99, 1000), (30, 200, 200)])
def test_false_alarms_are_beta_binomial(k: int, n: int, images: int) -> None:
    found = false_alarms(k, n, k - 1, images, 0.95)
    known = betabinom(images, k, n - k + 1)
    assert found.expected == pytest.approx(known.mean())
    assert (found.low, found.high) == (known.ppf(0.025), known.ppf(0.975))


def test_a_hundred_million_images_take_no_longer() -> None:
    found = false_alarms(100, 99_999, 99, 10**8, 0.95)
    rate = true_rate(100, 99_999, 99, 0.95)
    assert found.low == pytest.approx(1e8 * rate.low, rel=0.01)
    assert found.high == pytest.approx(1e8 * rate.high, rel=0.01)
    assert found.expected == pytest.approx(1e5)


def test_no_images_no_alarms() -> None:
    assert false_alarms(3, 50, 2, 0, 0.95) == (0, 0, 0)


def test_draws_lie_in_the_intervals_as_often_as_they_say() -> None:
    rng = np.random.default_rng(1)
    n, images, k, draws = 120, 300, 6, 2000
    scores = rng.random((draws, n + images))
    threshold = np.sort(scores[:, :n], axis=1)[:, -k, None]
    alarms = (scores[:, n:] > threshold).sum(1)
    for confidence in (0.5, 0.95):
        expected, low, high = false_alarms(k, n, k - 1, images, confidence)
        within = ((alarms >= low) & (alarms <= high)).mean()
        assert confidence - 0.03 < within < confidence + 0.08  # counts are whole numbers
    assert alarms.mean() == pytest.approx(expected, rel=0.05)
