"""Files of decisions: what is taken into a run, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from forensics import schema
from forensics.records import UserError
from forensics.report.decisions import FOLDER, TABLE, Decision, decisions, latest, merge
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


def file(of: Run, *made: dict[str, Any], name: str = "decisions.json", **changes: Any) -> str:
    path = Path(of.uri).parent / name
    content = {"format": 1, "run": of.digest, "decisions": made, **changes}
    path.write_text(json.dumps(content))
    return str(path)


def test_decisions_are_kept_and_the_latest_holds(run: Run) -> None:
    assert decisions(run) == ()
    assert merge(run, file(run, decision(1), decision(2))) == 2
    later = decision(1, decision="pristine", decided="2026-03-02T09:00:00+02:00")
    earlier = decision(2, decision="unclear", decided="2026-02-01T00:00:00Z")
    assert merge(run, file(run, later, earlier, decision(1))) == 2
    assert len(decisions(run)) == 4
    holding = latest(decisions(run))
    assert holding["image1"].decision == "pristine"
    assert holding["image2"].decision == "forged"
    assert holding["image1"].plain()["decided"] == "2026-03-02T07:00:00.000+00:00"


def table(run: Run) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = schema.from_parquet(
        (Path(run.uri) / TABLE).read_bytes()
    ).to_pylist()
    return rows


def test_the_same_file_twice_changes_nothing(run: Run) -> None:
    given = file(run, decision(1))
    assert merge(run, given) == 1
    before = (Path(run.uri) / TABLE).read_bytes()
    assert merge(run, given) == 0
    assert (Path(run.uri) / TABLE).read_bytes() == before
    [kept] = (Path(run.uri) / FOLDER).iterdir()
    assert kept.read_bytes() == Path(given).read_bytes()


def test_the_table_has_every_decision_once(run: Run) -> None:
    merge(run, file(run, decision(1), decision(2)))
    merge(run, file(run, decision(2), decision(3, decided="2026-03-01T10:00:00.123456Z")))
    assert table(run) == [one.model_dump() for one in decisions(run)]
    assert [row["image_id"] for row in table(run)] == ["image1", "image2", "image3"]


def test_files_that_are_merged_at_one_time_lose_nothing(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, others = file(run, decision(1)), file(run, decision(2), name="other.json")
    write, late = schema.to_parquet, iter([others])

    def interrupted(*given: Any) -> bytes:
        for other in late:  # while this job's table is written, another job merges
            merge(run, other)
        return write(*given)

    monkeypatch.setattr(schema, "to_parquet", interrupted)
    merge(run, mine)
    assert [one.image_id for one in decisions(run)] == ["image1", "image2"]
    assert [row["image_id"] for row in table(run)] == ["image1", "image2"]


def test_a_merge_looks_at_each_decision_a_few_times(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def many(second: int) -> list[dict[str, Any]]:
        return [
            decision(1, decided=f"2026-03-01T10:00:{second}.{k:03d}Z", reason=f"{k}")
            for k in range(200)
        ]

    merge(run, file(run, *many(10)))
    looked: list[int] = []
    plain = Decision.__hash__
    monkeypatch.setattr(Decision, "__hash__", lambda one: looked.append(1) or plain(one))
    assert merge(run, file(run, *many(20))) == 200
    assert len(looked) < 10 * 400


def test_a_damaged_file_of_decisions_is_named(run: Run) -> None:
    merge(run, file(run, decision(1)))
    [kept] = (Path(run.uri) / FOLDER).iterdir()
    kept.write_text(kept.read_text().replace("forged", "pristine"))
    with pytest.raises(UserError, match=f"{kept.name} is not the file that was merged.*Delete it"):
        decisions(run)


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
        merge(run, file(run, decision(2), made, **changes))
    assert not (Path(run.uri) / FOLDER).exists()


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
        merge(run, file(run, decision(**changes)))


def test_another_format_and_no_json_are_refused(run: Run, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no file of decisions"):
        merge(run, file(run, format=2))
    (tmp_path / "x.json").write_text("{half")
    with pytest.raises(UserError, match="no file of decisions"):
        merge(run, str(tmp_path / "x.json"))
