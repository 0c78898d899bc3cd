"""Shares, flags, and what a calibration holds for."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from forensics import storage
from forensics.calibration import build
from forensics.calibration.build import calibrate, collect
from forensics.calibration.record import Calibration, load_calibration
from forensics.records import UserError
from forensics.run import load_document
from tests.calibration.runs import INPUTS, pristine, row, scored_run


def made(folder: Path, scores: list[float | None], rate: float = 0.25) -> Calibration:
    run = scored_run(folder, pristine(scores))
    return calibrate(run, collect(run), rate)


def test_shares_count_the_image_itself(tmp_path: Path) -> None:
    known = made(tmp_path, [0.1, 0.2, 0.3, 0.4]).detectors["saboteur"]
    shares = [known.pristine_higher(s) for s in (0.5, 0.4, 0.35, 0.3, 0.1, 0.0)]
    assert shares == [1 / 5, 2 / 5, 2 / 5, 3 / 5, 5 / 5, 5 / 5]


def test_flagged_is_what_the_budget_allows(tmp_path: Path) -> None:
    scores = [n / 100 for n in range(99)]
    calibration = made(tmp_path, list(scores), rate=0.05)
    known = calibration.detectors["saboteur"]
    assert (known.rank, known.threshold, known.above_threshold) == (5, 0.94, 4)
    for score in np.linspace(0, 1, 301).tolist():
        marked = calibration.marked({"saboteur": {"score": score}})["saboteur"]
        assert marked["flagged"] == (marked["pristine_higher"] <= 0.05) == (score > 0.94)


def test_scores_that_repeat_keep_to_the_budget(tmp_path: Path) -> None:
    known = made(tmp_path, [0.5] * 10 + [0.9] * 9, rate=0.2).detectors["saboteur"]
    assert (known.threshold, known.above_threshold, known.rate_low) == (0.9, 0, 0)
    assert known.pristine_higher(0.9) == 10 / 20
    assert known.pristine_higher(0.91) == 1 / 20


def test_a_score_that_is_missing_is_not_marked(tmp_path: Path) -> None:
    calibration = made(tmp_path, [0.1, 0.2, 0.3, 0.4])
    unscored = {"saboteur": {"score": None}, "second": {"score": 0.9}, "status": "ok"}
    assert calibration.marked(unscored) == unscored
    assert calibration.marked({"status": "unreadable"}) == {"status": "unreadable"}


def test_many_scores_make_a_small_file_and_no_share_too_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = np.random.default_rng(0).normal(size=900).tolist()
    whole = made(tmp_path / "whole", scores, 0.1).detectors["saboteur"]
    monkeypatch.setattr(build, "KNOTS", 60)
    thin = made(tmp_path / "thin", scores, 0.1).detectors["saboteur"]
    assert len(thin.scores) <= 61 < len(whole.scores) == 900
    assert thin.threshold == whole.threshold
    assert thin.above_threshold == whole.above_threshold == thin.rank - 1
    for score in np.linspace(-4, 4, 500).tolist():
        share, of_all = thin.pristine_higher(score), whole.pristine_higher(score)
        assert of_all <= share <= 1.2 * of_all + 1e-9
        assert (share <= 0.1) == (of_all <= 0.1) == (score > thin.threshold)


def test_the_file_is_the_calibration(tmp_path: Path) -> None:
    calibration = made(tmp_path, [0.1, 0.2, None, 1 / 3, 0.4])
    uri = str(tmp_path / "calibration.json")
    storage.write(uri, calibration.model_dump_json().encode())
    assert load_calibration(uri) == calibration
    assert load_calibration(uri).digest == calibration.digest


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scores": [0.1, 0.4], "above": [0, 1]}, "scores must fall"),
        ({"scores": [0.4, 0.1], "above": [1, 2]}, "within the number"),
        ({"threshold": 0.77}, "must be one of the scores"),
        ({"pristine": 0}, "pristine"),
    ],
)
def test_a_file_that_was_changed_by_hand_is_refused(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    values = json.loads(made(tmp_path, [0.1, 0.2, 0.3, 0.4]).model_dump_json())
    values["detectors"]["saboteur"] |= change
    uri = str(tmp_path / "calibration.json")
    storage.write(uri, json.dumps(values).encode())
    with pytest.raises(UserError, match=f"is no calibration .*{message}"):
        load_calibration(uri)


def test_what_is_no_calibration_is_said_to_be_none(tmp_path: Path) -> None:
    uri = str(tmp_path / "run.json")
    storage.write(uri, b"{}")
    with pytest.raises(UserError, match=r"run\.json is no calibration"):
        load_calibration(uri)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("detectors.second", "weights-3"),
        ("settings.second.window", 32),
        ("settings.second.stride", 8),
        ("versions.source", "def"),
    ],
)
def test_other_weights_settings_or_code_are_refused(
    tmp_path: Path, name: str, value: object
) -> None:
    run = scored_run(tmp_path, [row({"second": s / 10}) for s in range(10)], ("second",))
    calibration = calibrate(run, collect(run), 0.5)
    inputs = load_document(run.uri)["inputs"]
    calibration.check(inputs)
    with pytest.raises(UserError, match=rf"(?s)other detectors.*{name}: .* then, {value!r} now"):
        calibration.check({**inputs, name: value})


@pytest.mark.parametrize(
    "change",
    [
        {"settings.second.weights": "elsewhere/the same file"},
        {"settings.device": "cuda"},
        {"manifest": "another"},
        {"detectors.saboteur": "not calibrated"},
        {"versions.torch": "2.14"},
    ],
)
def test_what_the_scores_do_not_depend_on_may_differ(
    tmp_path: Path, change: dict[str, object]
) -> None:
    run = scored_run(tmp_path, [row({"second": s / 10}) for s in range(10)], ("second",))
    calibrate(run, collect(run), 0.5).check({**INPUTS, **change})


def test_a_calibration_of_other_detectors_is_refused(tmp_path: Path) -> None:
    calibration = made(tmp_path, [0.1, 0.2, 0.3, 0.4])
    with pytest.raises(UserError, match="is of saboteur, which this scan does not run"):
        calibration.check({"detectors.second": "x"})
