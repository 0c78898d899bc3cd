"""Pictures beside the page: made once, found again, never by a name from outside."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from forensics import storage
from forensics.records import ManifestRow, Map
from forensics.report import pictures
from forensics.report.build import build_review
from forensics.report.overlay import OUTLINE
from forensics.report.pictures import THUMBNAIL, load_picture, stored, thumbnail
from forensics.run import Run
from tests.evaluate.runs import answer, commit_run
from tests.report.pages import HOSTILE
from tests.report.test_build import FORGED, embedded, original, pictured, scored

SCORES = [0.3, 0.9, 0.1, 0.5, 0.7]


@pytest.fixture
def three(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that holds three pictures itself."""
    monkeypatch.setattr("forensics.report.gallery.EMBEDDED", 3)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The originals that are read."""
    seen: list[str] = []
    read = storage.read

    def noted(uri: str, *arguments: Any) -> bytes:
        if "original-" in uri:
            seen.append(Path(uri).name)
        return read(uri, *arguments)

    monkeypatch.setattr(pictures.storage, "read", noted)
    return seen


def run_of(folder: Path) -> Run:
    return commit_run(folder, scored(folder, SCORES), shard_rows=2)


def files(run: Run) -> set[str]:
    return {path.name for path in Path(run.uri, "pictures").iterdir()}


@pytest.mark.usefixtures("three")
def test_the_first_are_in_the_page_and_the_others_beside_it(tmp_path: Path) -> None:
    run = run_of(tmp_path)
    review = build_review(run, pictures=4)
    assert pictured(review) == ["image0.9", "image0.7", "image0.5"]
    rows = {row["id"]: row for row in embedded(review)["rows"]}
    name = rows["image0.3"]["file"]
    assert {f"{name}.webp", f"{name}-small.webp"} < files(run)
    assert len(files(run)) == 8
    assert rows["image0.1"]["file"] is None
    assert f"jobs.report --run {run.uri} --pictures 5" in embedded(review)["more"]


def test_what_is_there_is_not_drawn_again(tmp_path: Path, reads: list[str]) -> None:
    run = run_of(tmp_path)
    build_review(run, pictures=2)
    assert sorted(reads) == ["original-1.png", "original-4.png"]
    review = build_review(run, pictures=4)
    assert len(reads) == 4
    reads.clear()
    assert build_review(run, pictures=0).pictures == review.pictures
    assert reads == []


def test_progress_is_told_for_what_there_is_to_do(tmp_path: Path) -> None:
    run = run_of(tmp_path)
    build_review(run, pictures=2)
    totals: list[int] = []
    outcomes: list[str] = []

    def watch(total: int) -> Any:
        totals.append(total)
        return outcomes.append

    (tmp_path / "original-0.png").unlink()
    build_review(run, pictures=5, watch=watch)
    assert totals == [3]
    assert sorted(outcomes) == ["made", "made", "no original"]


def test_a_stop_keeps_what_was_made(tmp_path: Path, reads: list[str]) -> None:
    run = run_of(tmp_path)

    def stop(_: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_review(run, watch=lambda _: stop)
    before, made = len(reads), len(stored(run))
    assert made >= 2  # of the first shard
    assert len(build_review(run).pictures) == 5
    assert len(reads) - before == 5 - made


@pytest.mark.parametrize("part", ["", "-small"])
@pytest.mark.parametrize("damage", [b"", b"RIFF....WEBP", None])
def test_a_damaged_file_is_made_again(tmp_path: Path, part: str, damage: bytes | None) -> None:
    run = run_of(tmp_path)
    whole = build_review(run).pictures
    for name in stored(run):
        path = Path(run.uri, "pictures", f"{name}{part}.webp")
        path.write_bytes(path.read_bytes()[:-30] if damage is None else damage)
        assert load_picture(run, name) is None
    assert build_review(run).pictures == whole


@pytest.mark.usefixtures("three")
def test_names_from_outside_are_no_paths(tmp_path: Path) -> None:
    names = ["../../../escaped", "/absolute", "a/b", *HOSTILE[:5]]
    answers = [(original(tmp_path, name), answer(FORGED, FORGED, 0.5)) for name in names]
    run = commit_run(tmp_path, answers)
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    build_review(run)
    new = {path for path in tmp_path.rglob("*") if path.is_file()} - before
    assert len(new) == 2 * len(names)
    for path in new:
        assert path.parent == Path(run.uri, "pictures")
        assert re.fullmatch(r"[0-9a-f]{32}(-small)?\.webp", path.name)


def test_each_image_has_its_own_picture(tmp_path: Path) -> None:
    """Also where files are the same, and where ids and titles could be taken for each other."""
    path = original(tmp_path, "x").uri
    rows = [ManifestRow(name, path) for name in ("a", "a  score 0.50", "b")]
    run = commit_run(tmp_path, [(row, answer(FORGED, FORGED, 0.5)) for row in rows])
    build_review(run)
    assert len(stored(run)) == 3


def test_a_thumbnail_is_the_image_made_small_with_the_outline() -> None:
    rgb = np.full((768, 1024, 3), 90, np.uint8)
    decision = np.zeros((96, 128), bool)
    decision[30:60, 40:80] = True
    small = thumbnail(rgb, {"prnu": [Map("decision", 8, decision)]})
    assert small.shape == (THUMBNAIL * 3 // 4, THUMBNAIL, 3)
    cyan = np.argwhere((small == OUTLINE).all(2))
    assert cyan.min(0).tolist() == [60, 80]
    assert cyan.max(0).tolist() == [119, 159]
    assert (thumbnail(rgb, {}) == 90).all()


def test_a_stored_picture_is_a_sheet_and_a_thumbnail(tmp_path: Path) -> None:
    run = commit_run(tmp_path, scored(tmp_path, [0.5]))
    build_review(run)
    [name] = stored(run)
    found = load_picture(run, name)
    assert found is not None
    sheet, small = (Image.open(io.BytesIO(data)) for data in (found.sheet, found.thumbnail))
    assert sheet.size > small.size == (28, 20)
    assert load_picture(run, "0" * 32) is None
