"""Intervals by the bootstrap, and groups of rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Floats = NDArray[np.float64]

RESAMPLES = 2000
_LEVEL = (2.5, 97.5)  # percentiles: an interval of 95 %


def interval(
    rows: Floats, measure: Callable[[Floats], Floats], seed: int
) -> tuple[float, float] | None:
    """95 % percentile interval of a measure of the sums of (n, k) rows; None under two rows.

    The rows are drawn anew, with replacement, `RESAMPLES` times; ``measure`` takes the sums of all
    resamples, (RESAMPLES, k), to (RESAMPLES,) numbers.
    """
    n = len(rows)
    if n < 2:
        return None
    weights = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=RESAMPLES)
    low, high = np.percentile(measure(weights @ rows), _LEVEL)
    return float(low), float(high)


def grouped_interval(
    rows: Floats, strata: NDArray[np.int64], measure: Callable[[Floats], Floats], seed: int
) -> tuple[float, float] | None:
    """As `interval`, the rows drawn anew within each of their strata, (n,) numbers from 0.

    None where a stratum has one row, which says nothing of how much it varies.
    """
    sizes = np.bincount(strata)
    if not sizes.size or (sizes == 1).any():
        return None
    random = np.random.default_rng(seed)
    sums = np.zeros((RESAMPLES, rows.shape[1]))
    for stratum in np.flatnonzero(sizes):
        n = sizes[stratum]
        sums += random.multinomial(n, np.full(n, 1 / n), RESAMPLES) @ rows[strata == stratum]
    low, high = np.percentile(measure(sums), _LEVEL)
    return float(low), float(high)


def mean_interval(values: Floats, seed: int) -> tuple[float, float] | None:
    """That of the mean of (n,) values."""
    return interval(values[:, None], lambda sums: sums[:, 0] / len(values), seed)


def maximum_interval(curves: Floats, seed: int) -> tuple[float, float] | None:
    """That of the maximum of the mean of (n, T) curves.

    The threshold is chosen anew in each resample, as it was in the sample.
    """
    return interval(curves, lambda sums: sums.max(axis=1) / len(curves), seed)


def spread(values: list[float]) -> dict[str, float | int | None]:
    """Mean and standard deviation (n - 1) of a few numbers, such as one per camera."""
    return {
        "n": len(values),
        "mean": float(np.mean(values)) if values else None,
        "sd": float(np.std(values, ddof=1)) if len(values) > 1 else None,
    }


def groups(table: pa.Table, columns: tuple[str, ...]) -> dict[tuple[Any, ...], NDArray[np.int64]]:
    """Row numbers, ascending, of each combination of values, in the order of first occurrence."""
    if not table.num_rows:
        return {}
    code = np.zeros(table.num_rows, np.int64)
    for name in columns:
        encoded = table[name].combine_chunks().dictionary_encode(null_encoding="encode")
        code = code * len(encoded.dictionary) + encoded.indices.to_numpy()
    order = np.argsort(code, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(code[order])) + 1)
    parts.sort(key=lambda rows: int(rows[0]))
    first = table.take(pa.array([rows[0] for rows in parts])).select(columns).to_pylist()
    return {tuple(row.values()): rows for row, rows in zip(first, parts, strict=True)}
