"""What a calibrated run flagged, against what was to be expected."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from forensics.calibration.build import calibrate, collect
from forensics.calibration.rates import false_alarms
from forensics.calibration.tally import count_flags
from tests.calibration.runs import pristine, row, scored_run


def test_every_image_with_a_score_counts(tmp_path: Path) -> None:
    first = scored_run(tmp_path / "pristine", pristine([n / 100 for n in range(99)]))
    calibration = calibrate(first, collect(first), 0.05)
    rows = [*pristine([0.99, 0.95, 0.94, 0.5, None, 0.1]), row(None), row({})]
    flags = count_flags(scored_run(tmp_path / "a", rows, calibration=calibration), calibration)
    assert flags.images == flags.detectors["saboteur"]
    assert (flags.images.scored, flags.images.flagged) == (5, 2)
    known = false_alarms(5, 99, 4, 5, 0.95)
    assert (flags.images.expected, flags.images.low, flags.images.high) == known
    assert flags.sentence() == (
        "flagged 2 of 5 images with a score; about 0.25 false alarms are expected if all are "
        "pristine (0 to 2)"
    )
    assert flags.plain()["detectors"]["saboteur"]["flagged"] == 2


def test_an_image_flagged_twice_is_one_image(tmp_path: Path) -> None:
    both = ("saboteur", "second")
    rows = [row(dict.fromkeys(both, n / 100)) for n in range(99)]
    first = scored_run(tmp_path / "pristine", rows, both)
    calibration = calibrate(first, collect(first), 0.1)
    scanned = [row({"saboteur": 1.0, "second": 1.0}), row({"saboteur": None, "second": 1.0})]
    scanned += [row(dict.fromkeys(both, 0.2)) for _ in range(38)]
    run = scored_run(tmp_path / "a", scanned, both, calibration=calibration)
    flags = count_flags(run, calibration)
    assert flags.images.flagged == flags.detectors["second"].flagged == 2
    assert flags.detectors["saboteur"].flagged == 1
    assert flags.images.expected == pytest.approx((39 + 40) * 5 / 100)
    one, other = (flags.detectors[name] for name in both)
    assert max(one.low, other.low) >= flags.images.low
    assert flags.images.high >= one.high
    assert "at most about" in flags.sentence()


def test_the_count_lies_in_the_interval_whatever_two_detectors_have_in_common(
    tmp_path: Path,
) -> None:
    """Detectors that always agree, and detectors that never do: one interval holds for both."""
    rng = np.random.default_rng(3)
    both = ("saboteur", "second")
    for name, opposite in (("alike", False), ("opposite", True)):
        scores = rng.random(300)
        others = 1 - scores if opposite else scores
        rows = [
            row(dict(zip(both, pair, strict=True))) for pair in zip(scores, others, strict=True)
        ]
        first = scored_run(tmp_path / name, rows[:150], both)
        calibration = calibrate(first, collect(first), 0.1)
        run = scored_run(tmp_path / f"{name}-2", rows[150:], both, calibration=calibration)
        found = count_flags(run, calibration).images
        assert found.low <= found.flagged <= found.high
