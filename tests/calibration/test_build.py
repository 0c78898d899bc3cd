"""From runs over pristine images to calibrations: what counts, what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from forensics.calibration.build import calibrate, collect
from forensics.calibration.tally import UNCHECKED, count_flags
from forensics.records import UserError
from tests.calibration.runs import pristine, row, scored_run


def test_what_is_no_score_is_counted_apart(tmp_path: Path) -> None:
    rows = [*pristine([0.5, None, 0.7, None, None, 0.6]), row(None), row({})]
    run = scored_run(tmp_path, rows)
    known = calibrate(run, collect(run), 0.5).detectors["saboteur"]
    assert (known.pristine, known.abstained, known.failed) == (3, 3, 2)
    assert known.scores == (0.7, 0.6, 0.5)
    assert known.above == (0, 1, 2)


def test_copies_and_images_that_were_learned_from_do_not_count(tmp_path: Path) -> None:
    rows = pristine([0.1, 0.2, 0.3, 0.4, 0.5])
    rows[3]["sha256"] = rows[1]["sha256"] = "copy"
    rows[4]["sha256"] = rows[0]["sha256"] = "learned"
    run = scored_run(tmp_path, rows)
    calibration = calibrate(run, collect(run, {"learned"}), 0.5)
    assert (calibration.images, calibration.copies, calibration.learned) == (2, 2, 1)
    assert calibration.detectors["saboteur"].scores == (0.3, 0.2)


def test_what_was_not_checked_is_not_said_to_be_none(tmp_path: Path) -> None:
    run = scored_run(tmp_path, pristine([0.1, 0.2, 0.3]))
    assert calibrate(run, collect(run, set()), 0.5).learned == 0
    unchecked = calibrate(run, collect(run, None), 0.5)
    assert unchecked.learned is None
    assert count_flags(run, unchecked).sentence().endswith(UNCHECKED)
    assert UNCHECKED not in count_flags(run, calibrate(run, collect(run), 0.5)).sentence()


def test_images_that_were_left_out_are_named_where_too_few_remain(tmp_path: Path) -> None:
    rows = pristine([0.1, 0.2, 0.3, 0.4, 0.5])
    rows[3]["sha256"] = rows[1]["sha256"] = "copy"
    rows[4]["sha256"] = rows[0]["sha256"] = "learned"
    run = scored_run(tmp_path, rows)
    made_from = r"1 of the images were left out because the camera models were made from them"
    with pytest.raises(UserError, match=rf"{made_from} \(and 2 as copies of others\): scan"):
        calibrate(run, collect(run, {"learned"}), 0.1)
    with pytest.raises(UserError, match=r"rate of 0\.25 or more\. 2 of the images are copies"):
        calibrate(run, collect(run), 0.1)
    everything = {row["sha256"] for row in run.report(0).to_pylist()} | {"learned"}
    with pytest.raises(UserError, match=r"image has a score of any .* left out because"):
        calibrate(run, collect(run, everything), 0.5)


def test_files_without_a_hash_are_no_copies_of_each_other(tmp_path: Path) -> None:
    run = scored_run(tmp_path, [*pristine([0.1, 0.2]), row(None), row(None)])
    found = collect(run)
    assert (found.images, found.copies) == (4, 0)


def test_detectors_share_the_budget(tmp_path: Path) -> None:
    rows = [row({"saboteur": n / 100, "second": 1 - n / 100}) for n in range(99)]
    run = scored_run(tmp_path, rows, ("saboteur", "second"))
    found = collect(run)
    both = calibrate(run, found, 0.1)
    assert [known.rate for known in both.detectors.values()] == [0.05, 0.05]
    assert [known.rank for known in both.detectors.values()] == [5, 5]
    marked = [both.marked({n: {"score": s} for n, s in r["scores"].items()}) for r in rows]
    flagged = sum(any(f["flagged"] for f in record.values()) for record in marked)
    assert flagged == 8  # no image by both: 4 are above the 5th highest of each
    assert flagged / 100 <= both.rate
    alone = calibrate(run, found, 0.1, detectors=["second"])
    assert alone.detectors["second"].rank == 10
    assert list(alone.detectors) == ["second"]


def test_a_detector_without_scores_has_no_part(tmp_path: Path) -> None:
    rows = [row({"saboteur": None, "second": n / 10}) for n in range(9)]
    run = scored_run(tmp_path, rows, ("saboteur", "second"))
    assert list(calibrate(run, collect(run), 0.5).detectors) == ["second"]
    with pytest.raises(UserError, match=r"no pristine image has a score of saboteur; .* second"):
        calibrate(run, collect(run), 0.5, detectors=["saboteur", "second"])
    with pytest.raises(UserError, match="no pristine image has a score of prnu"):
        calibrate(run, collect(run), 0.5, detectors=["prnu"])


def test_too_few_images_are_refused_with_the_number_needed(tmp_path: Path) -> None:
    run = scored_run(tmp_path, pristine([n / 100 for n in range(98)]))
    with pytest.raises(UserError, match=r"rate of 0\.01: each .* needs 99 .* saboteur has 98"):
        calibrate(run, collect(run), 0.01)
    with pytest.raises(UserError, match=r"choose a rate of 0\.01 or more"):
        calibrate(run, collect(run), 0.001)
    rows = [row({"saboteur": n / 10, "second": n / 10}) for n in range(9)]
    both = scored_run(tmp_path / "both", rows, ("saboteur", "second"))
    with pytest.raises(UserError, match=r"shared by 2 detectors .* needs 19 images"):
        calibrate(both, collect(both), 0.1)


def test_a_run_without_any_score_is_refused(tmp_path: Path) -> None:
    run = scored_run(tmp_path, pristine([None, None]))
    with pytest.raises(UserError, match="any detector; detectors with scores: none does"):
        calibrate(run, collect(run), 0.5)


def test_a_forged_image_is_refused(tmp_path: Path) -> None:
    rows = pristine([0.1, 0.2])
    rows[0]["label"], rows[1]["label"] = "pristine", "forged"
    with pytest.raises(UserError, match="'image1' is labelled forged"):
        collect(scored_run(tmp_path, rows))


@pytest.mark.parametrize("state", ["running", "incomplete"])
def test_a_scan_that_is_not_finished_is_refused(tmp_path: Path, state: str) -> None:
    run = scored_run(tmp_path, pristine([0.1, 0.2]), state=state)
    with pytest.raises(UserError, match=f"is {state}: finish that scan first"):
        collect(run)
