"""The table of the most suspicious images, and the contact sheet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from forensics.report.build import build_review
from forensics.report.contact import Frame, contact_sheet
from forensics.report.overlay import encode_picture
from forensics.report.suspects import leading
from tests.evaluate.runs import answer, commit_run
from tests.report.test_build import ABSTAINED, FORGED, original, scored


def test_the_table_says_what_was_found_and_what_opens_the_evidence(tmp_path: Path) -> None:
    answers = [*scored(tmp_path, [0.3, 0.9]), (original(tmp_path, "quiet"), ABSTAINED)]
    odd = original(tmp_path, "o'dd\u202e;id")
    answers.append((odd, answer(FORGED, FORGED & False, 0.5)))
    run = commit_run(tmp_path, answers)
    table = build_review(run).suspects
    assert {len(column) for column in table.values()} == {3}
    assert table["rank"] == [1, 2, 3]
    assert table["score"] == [0.9, 0.5, 0.3]
    assert table["detector"] == ["saboteur"] * 3
    assert table["decision"] == ["tampered", "authentic", "tampered"]
    assert table["image_id"] == ["image0.9", "o'dd⟨U+202E⟩;id", "image0.3"]
    assert table["original"][1] == odd.uri
    assert table["file"][1] == Path(odd.uri).name
    assert "pristine_higher" not in table
    command = f"python -m jobs.report --run {run.uri} --bundle "
    assert table["evidence"][0] == command + "image0.9"
    assert table["evidence"][1] == command + "$'o\\'dd\\xe2\\x80\\xae;id'"


def test_the_table_has_no_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "wJalrXUtnFEMIK7MDENG"
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
    (tmp_path / secret).mkdir()
    run = commit_run(tmp_path, scored(tmp_path / secret, [0.5]))
    [uri] = build_review(run, pictures=0).suspects["original"]
    assert uri == f"{tmp_path}/***/original-0.png"


@pytest.mark.parametrize(
    ("found", "name"),
    [
        ({"a": {"score": 0.2}, "b": {"score": 0.7}, "c": None}, "b"),
        (
            {
                "a": {"score": 0.2, "pristine_higher": 0.01},
                "b": {"score": 0.7, "pristine_higher": 0.3},
            },
            "a",
        ),
        ({"a": {"score": 0.2, "pristine_higher": 0.5}, "b": {"score": 0.7}}, "a"),
        ({"a": {"score": None}, "b": None}, ""),
    ],
)
def test_the_leading_detector(found: dict[str, Any], name: str) -> None:
    assert leading(found, ("a", "b", "c")) == name


def test_a_contact_sheet_shows_every_picture_in_its_place() -> None:
    colours = [(20 * k + 40, 0, 0) for k in range(6)]
    frames = []
    for k, colour in enumerate(colours):
        height, width = (128, 256) if k % 2 else (256, 100)
        rgb = np.full((height, width, 3), colour, np.uint8)
        frames.append(Frame(encode_picture(rgb, "image/png"), "\n" * 90, "שלום <b>" * 90))
    sheet = contact_sheet(frames)
    assert sheet.shape[1] == 4 * 256 + 5 * 16
    places = [np.argwhere((sheet == colour).all(2)).min(0).tolist() for colour in colours]
    assert [left for _, left in places] == [16, 288, 560, 832, 16, 288]
    assert [top for top, _ in places[:4]] == [16] * 4
    assert places[4][0] == places[5][0] > 16 + 256 + 2 * 16
    assert all((sheet == colour).all(2).sum() >= 25000 for colour in colours)
    one = contact_sheet([Frame(frames[0].thumbnail, "1", "a")])
    assert one.shape[1] == 256 + 2 * 16
    with pytest.raises(ValueError, match="at least one"):
        contact_sheet([])


def test_the_review_has_the_sheet_of_its_first_pictures(tmp_path: Path) -> None:
    run = commit_run(tmp_path, scored(tmp_path, [0.3, 0.9]))
    review = build_review(run)
    assert review.contact is not None
    assert review.contact.width == 2 * 256 + 3 * 16
    assert build_review(run, shown=0).contact is None
