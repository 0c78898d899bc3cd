"""Files of decisions: what is taken into a run, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from forensics.records import UserError
from forensics.report.decisions import FILE, decisions, latest, merge, read_decisions
from forensics.run import Run
from tests.test_run import begin, commit


@pytest.fixture
def run(tmp_path: Path) -> Run:
    found = begin(tmp_path)
    commit(found, 0)
    return found


def decision(number: int = 1, **changes: Any) -> dict[str, Any]:
    return {
        "image_id": f"image{number}",
        "sha256": "0" * 64,
        "decision": "forged",
        "reason": "the sky ends at a line",
        "reviewer": "A. B.",
        "decided": "2026-03-01T10:00:00.123Z",
        **changes,
    }


def file(of: Run, *made: dict[str, Any], **changes: Any) -> str:
    path = Path(of.uri).parent / "decisions.json"
    content = {"format": 1, "run": of.digest, "decisions": made, **changes}
    path.write_text(json.dumps(content))
    return str(path)


def test_decisions_are_kept_and_the_latest_holds(run: Run) -> None:
    assert decisions(run) == ()
    assert merge(run, read_decisions(file(run, decision(1), decision(2)))) == 2
    later = decision(1, decision="pristine", decided="2026-03-02T09:00:00+02:00")
    earlier = decision(2, decision="unclear", decided="2026-02-01T00:00:00Z")
    assert merge(run, read_decisions(file(run, later, earlier, decision(1)))) == 2
    assert len(decisions(run)) == 4
    holding = latest(decisions(run))
    assert holding["image1"].decision == "pristine"
    assert holding["image2"].decision == "forged"
    assert holding["image1"].plain()["decided"] == "2026-03-02T07:00:00.000+00:00"


def test_the_same_file_twice_changes_nothing(run: Run) -> None:
    given = read_decisions(file(run, decision(1)))
    assert merge(run, given) == 1
    before = (Path(run.uri) / FILE).read_bytes()
    assert merge(run, given) == 0
    assert (Path(run.uri) / FILE).read_bytes() == before


@pytest.mark.parametrize(
    ("made", "changes", "message"),
    [
        (decision(), {"run": "f" * 64}, "another run"),
        (decision(number=77), {}, "image77: there is no such image"),
        (decision(sha256="1" * 64), {}, "image1: the decision is on a file with another hash"),
    ],
)
def test_what_is_not_of_this_run_is_refused_whole(
    run: Run, made: dict[str, Any], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        merge(run, read_decisions(file(run, decision(2), made, **changes)))
    assert not (Path(run.uri) / FILE).exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"decision": "guilty"},
        {"decided": "yesterday"},
        {"decided": "2026-03-01T10:00:00"},  # of no time zone
        {"reason": "x" * 3000},
        {"image_id": ""},
        {"more": 1},
    ],
)
def test_what_the_page_does_not_write_is_refused(run: Run, changes: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"no file of decisions .*decisions\.0"):
        read_decisions(file(run, decision(**changes)))


def test_another_format_and_no_json_are_refused(run: Run, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no file of decisions"):
        read_decisions(file(run, format=2))
    (tmp_path / "x.json").write_text("{half")
    with pytest.raises(UserError, match="no file of decisions"):
        read_decisions(str(tmp_path / "x.json"))
