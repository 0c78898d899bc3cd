"""The page of a scan that was finished before there was a calibration."""

from __future__ import annotations

from pathlib import Path

import pytest

from forensics.calibration.build import calibrate, collect
from forensics.calibration.tally import count_flags
from forensics.records import UserError
from forensics.report.build import build_review
from jobs.report import ReportJob, report
from tests.calibration.runs import pristine, row, scored_run
from tests.report.test_build import embedded

BOTH = ("saboteur", "second")


def test_a_finished_scan_is_ordered_by_a_calibration_made_since(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [row({"saboteur": 0.5 + n / 1000, "second": n / 1000}) for n in range(99)]
    first = scored_run(tmp_path / "pristine", rows, BOTH)
    calibration = calibrate(first, collect(first), 0.1)
    scanned = [row({"saboteur": 0.55, "second": 0.2}), row({"saboteur": 0.99, "second": 0.01})]
    scanned += [row({"saboteur": 0.51, "second": 0.01}), row(None)]
    run = scored_run(tmp_path / "archive", scanned, BOTH)
    plain = embedded(build_review(run, pictures=0))
    assert [r["id"] for r in plain["rows"]][:3] == ["image1", "image0", "image2"]
    before = Path(run.report_uri(0)).read_bytes()
    review = build_review(run, pictures=0, calibration=calibration)
    data = embedded(review)
    assert [r["share"] for r in data["rows"]] == [0.01, 0.01, 0.9, None]
    assert [r["flagged"] for r in data["rows"]] == [True, True, False, False]
    assert data["flagged"] == 2
    assert count_flags(run, calibration).sentence() in review.page
    file = tmp_path / "calibration.json"
    file.write_text(calibration.model_dump_json())
    assert report(ReportJob(run=run.uri, calibration=str(file), pictures=0)) == 0
    assert "flagged 2 of 3 images with a score" in capsys.readouterr().out
    assert "rarest first" in Path(run.uri, "page.html").read_text(encoding="utf-8")
    assert Path(run.report_uri(0)).read_bytes() == before


def test_a_calibration_of_another_detector_is_refused(tmp_path: Path) -> None:
    first = scored_run(tmp_path / "pristine", pristine([n / 10 for n in range(9)]))
    calibration = calibrate(first, collect(first), 0.5)
    known = calibration.detectors["saboteur"]
    changed = known.model_copy(update={"holds_for": {**known.holds_for, "versions.source": "x"}})
    other = calibration.model_copy(update={"detectors": {"saboteur": changed}})
    (tmp_path / "other.json").write_text(other.model_dump_json())
    with pytest.raises(UserError, match=r"versions\.source: 'x' then, 'abc' now"):
        report(ReportJob(run=first.uri, calibration=str(tmp_path / "other.json")))
