"""From committed runs to their page: which rows, in which order, with which pictures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from forensics.records import Finding, ManifestRow, Status, UserError
from forensics.report.build import Review, build_review, row_score, write_review
from forensics.run import load_run
from forensics.scan import Scanner, ScanSettings
from forensics.schema import map_records, report_record
from tests.evaluate.runs import HEIGHT, WIDTH, answer, cells, commit_run
from tests.report.pages import HOSTILE
from tests.report.test_page import Elements
from tests.saboteur import NAME

FORGED = cells((0, 0), (2, 3))
ABSTAINED = Finding(Status.NOT_APPLICABLE, "no fingerprint")

Answers = list[tuple[ManifestRow, Finding | None]]


def original(folder: Path, image_id: str, height: int = HEIGHT, width: int = WIDTH) -> ManifestRow:
    """A manifest row whose image is there."""
    number = len(list(folder.iterdir()))
    path = folder / f"original-{number}.png"
    rng = np.random.default_rng(number)
    Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(path)
    return ManifestRow(image_id, str(path))


def scored(folder: Path, scores: Sequence[float]) -> Answers:
    return [(original(folder, f"image{s}"), answer(FORGED, FORGED, s)) for s in scores]


def embedded(review: Review) -> dict[str, Any]:
    scripts: Any = Elements(review.page).all("script")  # type: ignore[no-untyped-call]
    [data] = [text for attributes, text in scripts if attributes.get("id") == "data"]
    found: dict[str, Any] = json.loads(data)
    return found


def listed(review: Review) -> list[str]:
    return [row["id"] for row in embedded(review)["rows"]]


def pictured(review: Review) -> list[str]:
    return [row["id"] for row in embedded(review)["rows"] if row["picture"] is not None]


def test_worst_first_over_all_shards(tmp_path: Path) -> None:
    answers = scored(tmp_path, [0.3, 0.9, 0.1, 0.5, 0.7, 0.2, 1.0, 0.0, 0.4])
    review = build_review(commit_run(tmp_path, answers, shard_rows=4))
    scores = [1.0, 0.9, 0.7, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0]
    assert listed(review) == [f"image{s}" for s in scores]
    rows = embedded(review)["rows"]
    assert [row["score"] for row in rows] == scores
    assert rows[0]["detectors"]["saboteur"]["decision"] is True
    assert (rows[0]["width"], rows[0]["height"]) == (WIDTH, HEIGHT)


def test_rows_without_a_score_come_last(tmp_path: Path) -> None:
    answers: Answers = [
        (original(tmp_path, "abstained"), ABSTAINED),
        (original(tmp_path, "broken"), None),
        (original(tmp_path, "quiet"), answer(cells(), cells(), 0.0)),
    ]
    review = build_review(commit_run(tmp_path, answers))
    assert listed(review)[0] == "quiet"
    assert set(listed(review)) == {"quiet", "broken", "abstained"}
    reasons = {row["id"]: row["reason"] for row in embedded(review)["rows"]}
    assert reasons["broken"] == "broken file"


def test_a_page_that_lists_a_part_counts_the_whole(tmp_path: Path) -> None:
    answers = scored(tmp_path, [0.3, 0.9, 0.1, 0.5])
    answers += [(original(tmp_path, f"broken{n}"), None) for n in range(3)]
    answers += [(original(tmp_path, f"abstained{n}"), ABSTAINED) for n in range(2)]
    review = build_review(commit_run(tmp_path, answers), rows=2)
    assert listed(review) == ["image0.9", "image0.5"]
    assert embedded(review)["counts"] == {"ok": 4, "unreadable": 3, "not_applicable": 2}
    assert "Scan of 9 images" in review.page


def test_the_rows_that_failed_are_kept_where_not_all_are(tmp_path: Path) -> None:
    """Of rows without a score, those that somebody must look at are the worse ones."""
    answers: Answers = [(original(tmp_path, f"a{n}"), ABSTAINED) for n in range(3)]
    answers.append((original(tmp_path, "z-broken"), None))
    failed = Finding(Status.FAILED, "RuntimeError: x")
    answers.append((original(tmp_path, "z-failed"), failed))
    review = build_review(commit_run(tmp_path, answers), rows=2)
    assert set(listed(review)) == {"z-failed", "z-broken"}


def test_the_worst_have_pictures_up_to_the_limit(tmp_path: Path) -> None:
    run = commit_run(tmp_path, scored(tmp_path, [0.3, 0.9, 0.1, 0.5, 0.7]))
    for limit, expected in ((0, []), (2, ["image0.9", "image0.7"])):
        review = build_review(run, pictures=limit)
        assert pictured(review) == expected
        assert review.page.count("data-mime") == 2 * len(review.pictures) == 2 * limit
        assert len(listed(review)) == 5
    assert len(build_review(run).pictures) == 5
    assert len(build_review(run, shown=3).pictures) == 3


def test_a_picture_shows_its_own_maps(tmp_path: Path) -> None:
    path = str(tmp_path / "grey.png")
    Image.new("RGB", (WIDTH, HEIGHT), (99, 99, 99)).save(path)
    loud, quiet = ManifestRow("loud", path), ManifestRow("quiet", path)
    answers: Answers = [
        (quiet, answer(cells(), cells(), 0.1)),
        (loud, answer(FORGED, FORGED, 0.9)),
    ]
    review = build_review(commit_run(tmp_path, answers, shard_rows=1))
    assert listed(review) == ["loud", "quiet"]
    first, second = (np.asarray(p.convert("RGB"), np.int64) for p in review.pictures)
    assert first.shape == second.shape
    assert np.abs(first - second).max() > 50


def test_an_original_that_is_gone_leaves_its_row_without_a_picture(tmp_path: Path) -> None:
    answers = scored(tmp_path, [0.9, 0.5, 0.7])
    run = commit_run(tmp_path, answers)
    Path(answers[0][0].uri).unlink()
    Path(answers[1][0].uri).write_bytes(b"no image any more")
    review = build_review(run)
    assert listed(review) == ["image0.9", "image0.7", "image0.5"]
    assert pictured(review) == ["image0.7"]
    assert len(review.pictures) == 1


@pytest.mark.parametrize("size", [(16, 16), (7, 300)])
def test_an_original_that_changed_is_not_drawn(tmp_path: Path, size: tuple[int, int]) -> None:
    rows = [original(tmp_path, name, 16, 16) for name in ("altered", "intact")]
    run = commit_run(tmp_path, [(row, None) for row in rows])
    reports = [Scanner(ScanSettings(detectors=(NAME,))).answer(row) for row in rows]
    records = [report_record(n, report) for n, report in enumerate(reports)]
    run.commit(0, records, [item for report in reports for item in map_records(report)])
    assert set(pictured(build_review(run))) == {"altered", "intact"}
    Image.new("RGB", size).save(rows[0].uri)
    assert set(pictured(build_review(run))) == {"altered", "intact"}  # they were made before
    for path in Path(run.uri, "pictures").iterdir():
        path.unlink()
    review = build_review(run)
    assert set(listed(review)) == {"altered", "intact"}
    assert pictured(review) == ["intact"]
    missing = {row["id"]: row["missing"] for row in embedded(review)["rows"]}
    assert missing == {"altered": "the original is another file now", "intact": None}


def test_hostile_names_stay_data(tmp_path: Path) -> None:
    writable = [name for name in HOSTILE if name.isprintable() or "\u202e" in name]
    writable = [name for name in writable if "\udc80" not in name]
    answers: Answers = []
    for name in writable:
        row = replace(original(tmp_path, name), camera_id=name, label=name)
        answers.append((row, replace(answer(FORGED, FORGED, 0.5), reason=name)))
    run = commit_run(tmp_path, answers)
    review = build_review(run)
    assert sorted(listed(review)) == sorted(writable)
    tags = {tag for tag, _, _ in Elements(review.page).found}
    assert not tags & {"img", "svg", "iframe", "object"}
    scripts = [tag for tag, _, _ in Elements(review.page).found if tag == "script"]
    assert len(scripts) == len(["data", "page.js"]) + 2 * len(writable)  # and the pictures
    assert sorted(pictured(review)) == sorted(writable)


def test_a_run_without_rows_has_a_page(tmp_path: Path) -> None:
    run = commit_run(tmp_path, scored(tmp_path, [0.5]), shards=[])
    review = build_review(run)
    assert listed(review) == []
    assert embedded(review)["counts"] == {}
    assert review.pictures == ()


def test_a_run_in_progress_shows_what_is_there(tmp_path: Path) -> None:
    answers = scored(tmp_path, [0.1, 0.2, 0.3, 0.4, 0.5])
    review = build_review(commit_run(tmp_path, answers, shard_rows=2, shards=[0, 2]))
    assert listed(review) == ["image0.5", "image0.2", "image0.1"]
    assert embedded(review)["counts"] == {"ok": 3}


def test_the_page_lies_in_the_runs_folder(tmp_path: Path) -> None:
    run = commit_run(tmp_path, scored(tmp_path, [0.5]))
    review = build_review(run)
    uri = write_review(run, review)
    assert uri == f"{run.uri}/page.html"
    assert Path(uri).read_text(encoding="utf-8") == review.page
    assert run.digest in review.page
    assert build_review(load_run(run.uri)).pictures[0] == review.pictures[0]


@pytest.mark.parametrize("kind", ["report", "maps"])
def test_a_damaged_file_is_named(tmp_path: Path, kind: str) -> None:
    run = commit_run(tmp_path, scored(tmp_path, [0.1, 0.2, 0.3]), shard_rows=2)
    path = Path({"report": run.report_uri, "maps": run.maps_uri}[kind](1))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match=rf"{kind}/shard-00000001.*\.parquet is damaged"):
        build_review(run)


def test_a_rows_score_is_the_highest_of_its_detectors() -> None:
    names = ("a", "b", "c")
    assert row_score({"a": {"score": 0.2}, "b": {"score": 0.7}, "c": None}, names) == 0.7
    assert row_score({"a": {"score": None}, "b": {"score": 0.0}}, names) == 0.0
    assert row_score({"a": {"score": None}, "b": None}, names) is None
    assert row_score({}, names) is None
