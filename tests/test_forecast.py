"""Forecasts from samples: exact where the sample says all, and as wide as they must be."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from forensics.forecast import Floats, Sample, flagged, forecast, share


def record(size: int = 1000, status: str = "ok", **detectors: Any) -> dict[str, Any]:
    return {"size": size, "status": status, **detectors}


def sample(records: list[dict[str, Any]], seconds: list[float]) -> Sample:
    timed = [*[None] * (len(records) - len(seconds)), *seconds]
    return Sample(records, timed, start_seconds=5.0, row_bytes=40, shard_bytes=100, peak_bytes=9)


def test_images_all_alike_are_forecast_exactly() -> None:
    found = forecast(sample([record()] * 8, [2.0] * 6), 1000, 20, 4, "decision")
    assert found.seconds == pytest.approx((505.0, 505.0, 505.0))
    assert found.read_bytes == pytest.approx((1e6, 1e6, 1e6))
    assert found.written_bytes == 40 * 1000 + 20 * 100
    assert found.flagged[:2] == (0, 0)
    assert found.statuses["ok"].value == 1000


@pytest.mark.parametrize(("workers", "turns"), [(8, 1), (5, 1), (4, 2), (2, 3), (1, 5)])
def test_a_scan_takes_as_long_as_the_worker_with_most_shards(workers: int, turns: int) -> None:
    found = forecast(sample([record()] * 2, [2.0] * 2), 100, 5, workers, "decision")
    assert found.seconds.value == pytest.approx(5 + turns * 20 * 2.0)


def test_a_sample_with_too_many_large_files_is_corrected() -> None:
    sizes = [1000] * 5 + [9000] * 5  # half of the sample, a tenth of the archive
    records = [record(size) for size in sizes]
    seconds = [size / 1000 for size in sizes]
    known = 100 * (900 + 900)
    told = forecast(sample(records, seconds), 100, 100, 1, "decision", known_bytes=known)
    assert told.seconds == pytest.approx((5 + 180,) * 3)
    assert told.read_bytes == (known,) * 3
    assert forecast(sample(records, seconds), 100, 100, 1, "decision").seconds.value == 5 + 500


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    rng, hits = np.random.default_rng(0), 0
    for seed in range(200):
        seconds = rng.gamma(2.0, 3.0, 60)  # mean 6
        found = forecast(
            sample([record()] * 60, list(seconds)), 100, 100, 1, "decision", None, seed
        )
        hits += found.seconds.lowest <= 5 + 600 <= found.seconds.highest
    assert 180 <= hits <= 200


ROWS, SHARDS, WORKERS = 5000, 100, 4


@dataclass(frozen=True)
class Archive:
    """Made-up images of an archive: bytes, seconds, and whether they are flagged."""

    sizes: Floats
    seconds: Floats
    flagged: NDArray[np.bool_]

    def truth(self) -> float:
        """Seconds of a scan: each shard goes to the worker that is free first."""
        free = [5.0] * WORKERS
        for shard in np.split(self.seconds, SHARDS):
            heapq.heapreplace(free, free[0] + float(shard.sum()))
        return max(free)

    def drawn(self, rng: np.random.Generator, count: int) -> Sample:
        chosen = rng.choice(ROWS, count, replace=False)
        rows = zip(self.sizes[chosen], self.flagged[chosen], strict=True)
        records = [record(int(size), prnu={"decision": bool(flag)}) for size, flag in rows]
        return sample(records, list(self.seconds[chosen][WORKERS:]))


def archive(share_flagged: float) -> Archive:
    """Sizes as of photos; time follows the size, and differs by half from image to image."""
    rng = np.random.default_rng(7)
    sizes = 3e6 * rng.lognormal(0.0, 0.6, ROWS)
    seconds = (0.3 + sizes / 3e6) * rng.gamma(4.0, 0.25, ROWS)
    return Archive(sizes, seconds, rng.random(ROWS) < share_flagged)


def within_a_quarter(found: float, truth: float) -> bool:
    return abs(found - truth) <= truth / 4


@pytest.mark.parametrize("told", [True, False])
def test_64_images_say_what_time_and_bytes_a_held_out_archive_takes(told: bool) -> None:
    held_out, rng = archive(0.0), np.random.default_rng(1)
    total = int(held_out.sizes.sum())
    known = total if told else None
    draws = [
        forecast(held_out.drawn(rng, 64), ROWS, SHARDS, WORKERS, "decision", known)
        for _ in range(40)
    ]
    times = [within_a_quarter(found.seconds.value, held_out.truth()) for found in draws]
    assert sum(times) >= 38
    assert sum(within_a_quarter(found.read_bytes.value, total) for found in draws) >= 38


@pytest.mark.parametrize(
    ("share_flagged", "sampled", "fewest", "most"),
    [(0.02, 64, 0, 20), (0.1, 700, 38, 40)],  # some 70 flagged images must be among those drawn
)
def test_rare_flags_take_a_larger_sample(
    share_flagged: float, sampled: int, fewest: int, most: int
) -> None:
    held_out, rng = archive(share_flagged), np.random.default_rng(2)
    truth = int(held_out.flagged.sum())
    draws = [
        forecast(held_out.drawn(rng, sampled), ROWS, SHARDS, WORKERS, "decision").flagged
        for _ in range(40)
    ]
    hits = sum(within_a_quarter(found.value, truth) for found in draws)
    assert fewest <= hits <= most
    assert sum(found.lowest <= truth <= found.highest for found in draws) >= 37


def test_a_flag_is_any_detector_s() -> None:
    records = [
        record(prnu={"decision": True}, camera={"decision": None}),
        record(prnu={"decision": False}),
        record(prnu=None),
        record(status="unreadable"),
    ]
    assert [flagged(r, "decision") for r in records] == [True, False, False, False]
    found = forecast(sample(records, [1.0]), 400, 4, 1, "decision")
    assert found.flagged.value == 100
    assert found.statuses["unreadable"].value == 100
    assert found.flagged.lowest < 100 < found.flagged.highest


@pytest.mark.parametrize(
    ("count", "sampled", "interval"),
    [(0, 10, (0.0, 0.3085)), (10, 10, (0.6915, 1.0)), (3, 20, (0.0321, 0.3789))],
)
def test_shares_have_exact_intervals(
    count: int, sampled: int, interval: tuple[float, float]
) -> None:
    found = share(count, sampled, 1000)
    assert found.value == 1000 * count / sampled
    assert (found.lowest / 1000, found.highest / 1000) == pytest.approx(interval, abs=1e-4)


def test_one_image_alone_says_nothing_of_time() -> None:
    with pytest.raises(ValueError, match="beside the first"):
        forecast(sample([record()], []), 10, 1, 1, "decision")
