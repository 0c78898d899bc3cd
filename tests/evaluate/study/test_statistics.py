"""Bootstrap intervals against theory, and groups of rows."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from forensics.evaluate.study.statistics import (
    grouped_interval,
    groups,
    interval,
    maximum_interval,
    mean_interval,
    spread,
)


def test_the_interval_of_a_mean_is_that_of_the_normal_distribution() -> None:
    values = np.random.default_rng(0).normal(0.4, 0.2, 400)
    low, high = mean_interval(values, seed=1) or (0, 0)
    half = 1.96 * values.std() / 20
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=half / 8)
    assert mean_interval(values, seed=1) == (low, high)
    assert mean_interval(values, seed=2) != (low, high)


def test_the_interval_of_a_maximum_is_around_the_best_column() -> None:
    random = np.random.default_rng(0)
    curves = np.stack([random.normal(m, 0.1, 200) for m in (0.2, 0.7, 0.4)], axis=1)
    assert maximum_interval(curves, 0) == pytest.approx(mean_interval(curves[:, 1], 0))
    assert maximum_interval(np.full((5, 3), 0.25), 0) == (0.25, 0.25)


def test_rows_are_drawn_within_their_strata() -> None:
    random = np.random.default_rng(0)
    strata = np.repeat([0, 1], [300, 100])
    values = random.normal(0, 1, 400) + 100 * strata
    mean = grouped_interval(values[:, None], strata, lambda sums: sums[:, 0] / 400, 0) or (0, 0)
    half = 1.96 * np.hypot(300 * values[:300].std() / 300**0.5, 100 * values[300:].std() / 10) / 400
    assert mean == pytest.approx((values.mean() - half, values.mean() + half), abs=half / 8)
    one = np.array([0, 0, 1])
    assert grouped_interval(np.ones((3, 1)), one, lambda sums: sums[:, 0], 0) is None
    assert grouped_interval(np.ones((0, 1)), one[:0], lambda sums: sums[:, 0], 0) is None


def test_one_row_has_no_interval() -> None:
    assert mean_interval(np.array([0.5]), 0) is None
    assert interval(np.zeros((0, 2)), lambda sums: sums[:, 0], 0) is None


def test_spread() -> None:
    assert spread([1.0, 3.0]) == {"n": 2, "mean": 2.0, "sd": pytest.approx(2**0.5)}
    assert spread([1.0]) == {"n": 1, "mean": 1.0, "sd": None}
    assert spread([]) == {"n": 0, "mean": None, "sd": None}


def test_groups_hold_every_row_once_in_order_of_occurrence_nulls_too() -> None:
    table = pa.table({"a": ["y", "x", "y", None, "x"], "b": pa.array([1, None, 1, 2, None])})
    found = {key: rows.tolist() for key, rows in groups(table, ("a", "b")).items()}
    assert found == {("y", 1): [0, 2], ("x", None): [1, 4], (None, 2): [3]}
    assert list(found) == [("y", 1), ("x", None), (None, 2)]
    chunked = pa.concat_tables([table, table])
    assert groups(chunked, ("a",))[("y",)].tolist() == [0, 2, 5, 7]
    assert groups(table.slice(0, 0), ("a",)) == {}
