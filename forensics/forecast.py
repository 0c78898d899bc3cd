"""What a scan will take and find, forecast from some of its images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv

CONFIDENCE = 0.95
_DRAWS = 2000  # bootstrap samples

Floats = NDArray[np.float64]
Record = Mapping[str, Any]
"""A row of the report (`forensics.schema.report_record`)."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What images drawn at random took on the workers that shared them."""

    records: Sequence[Record]
    seconds: Sequence[float | None]  # on its worker; None for the first one of each, which is slow
    start_seconds: float  # until a worker had loaded its detectors
    row_bytes: float  # of a report row with its maps, mean
    shard_bytes: float  # of a shard's files beside its rows
    peak_bytes: int  # of the worker that needed most
    idle_bytes: int = 0  # of a worker without an image, at most


class Amount(NamedTuple):
    """A forecast and the interval that holds it with 95 % confidence."""

    value: float
    lowest: float
    highest: float


@dataclass(frozen=True, slots=True)
class Forecast:
    """Of all rows of a manifest."""

    seconds: Amount  # on the wall
    read_bytes: Amount
    written_bytes: float
    flagged: Amount  # images
    statuses: Mapping[str, Amount]


def forecast(
    sample: Sample,
    rows: int,
    shards: int,
    workers: int,
    flag: str,
    known_bytes: int | None = None,
    seed: int = 0,
) -> Forecast:
    """Totals from a sample, by the mean per image.

    Where the manifest says how large all files are, time is forecast by regression on the size:
    a sample that holds more large files than the archive is corrected for it (Cochran 1977,
    Sampling Techniques, chapter 7).

    Args:
        sample: with two images at least.
        rows: of the manifest.
        shards: of the run.
        workers: that share the images.
        flag: the column of a detector that flags an image, ``decision`` or ``flagged``.
        known_bytes: of all files together; None where the manifest does not say.
        seed: of the bootstrap.
    """
    count = len(sample.records)
    sizes = [record["size"] or 0 for record in sample.records]
    timed = [(s, size) for s, size in zip(sample.seconds, sizes, strict=True) if s is not None]
    if not timed:
        raise ValueError("a forecast needs an image beside the first of a worker")
    seconds, behind = np.array(timed, np.float64).T
    mean_size = None if known_bytes is None else known_bytes / rows
    turns = -(-shards // workers)  # shards of the worker that has most
    work = _total(seconds, turns * rows / shards, seed, behind, mean_size)
    read = _total(np.array(sizes, np.float64), rows, seed)
    statuses = Counter(str(record["status"]) for record in sample.records)
    return Forecast(
        Amount(*(part + sample.start_seconds for part in work)),
        read if known_bytes is None else Amount(*[float(known_bytes)] * 3),
        sample.row_bytes * rows + sample.shard_bytes * shards,
        share(sum(flagged(record, flag) for record in sample.records), count, rows),
        {name: share(number, count, rows) for name, number in sorted(statuses.items())},
    )


def flagged(record: Record, flag: str) -> bool:
    """Whether any detector flags the image."""
    return any(isinstance(v, Mapping) and v.get(flag) is True for v in record.values())


def share(count: int, sampled: int, rows: int) -> Amount:
    """How many of all rows, when ``count`` of ``sampled`` drawn at random are (exact interval:
    Clopper and Pearson 1934, doi:10.1093/biomet/26.4.404)."""
    tail = (1 - CONFIDENCE) / 2
    lowest = float(betaincinv(count, sampled - count + 1, tail)) if count else 0.0
    highest = float(betaincinv(count + 1, sampled - count, 1 - tail)) if count < sampled else 1.0
    return Amount(rows * count / sampled, rows * lowest, rows * highest)


def _total(
    values: Floats,
    times: float,
    seed: int,
    sizes: Floats | None = None,
    mean_size: float | None = None,
) -> Amount:
    """``times`` the mean, with the interval that the bootstrap gives."""

    def means(chosen: NDArray[np.int64]) -> Floats:
        drawn = values[chosen]
        found: Floats = drawn.mean(1)
        if sizes is not None and mean_size is not None:
            behind = sizes[chosen]
            off = behind - behind.mean(1, keepdims=True)
            slope = (off * drawn).sum(1) / np.maximum((off**2).sum(1), 1.0)
            found = found + slope * (mean_size - behind.mean(1))
        return np.maximum(found, 0.0)

    draws = np.random.default_rng(seed).integers(len(values), size=(_DRAWS, len(values)))
    tail = 100 * (1 - CONFIDENCE) / 2
    lowest, highest = np.percentile(means(draws), [tail, 100 - tail])
    [value] = means(np.arange(len(values))[None])
    return Amount(float(value * times), float(lowest * times), float(highest * times))
