"""Forecasts from samples: exact where the sample says all, and as wide as they must be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from forensics.forecast import Sample, flagged, forecast, share


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
