"""Boxes are where they say, in the colour of their vote, with the table in the corner."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from forensics.records import Finding, Map, Rgb
from forensics.report.boxes import COLOURS, Boxes, draw_boxes
from forensics.report.build import build_review
from forensics.report.figure import figure
from tests.evaluate.runs import answer, cells, commit_run
from tests.report.test_build import embedded, original

FINDING = {
    "votes": [
        {"label": "npi", "patches": 1, "probability": 0.4},
        {"label": "cgg", "patches": 0, "probability": 0.2},
        {"label": "dgi", "patches": 2, "probability": 0.4},
    ],
    "boxes": [
        {"left": 200, "top": 100, "width": 64, "height": 64, "vote": 0},
        {"left": 236, "top": 300, "width": 64, "height": 100, "vote": 2},
        {"left": 100, "top": 180, "width": 50, "height": 50, "vote": 2},
    ],
}


def boxes() -> Boxes:
    found = Boxes.of(FINDING)
    assert found is not None
    return found


def share(sheet: Rgb, colour: tuple[int, int, int]) -> float:
    return float(np.mean((sheet == colour).all(2)))


def test_outlines_lie_on_the_boxes() -> None:
    grey = np.full((400, 300, 3), 100, np.uint8)
    drawn = draw_boxes(grey, (400, 300), boxes())
    assert (grey == 100).all()
    for y, x, vote in ((100, 230, 0), (163, 230, 0), (130, 200, 0), (130, 263, 0), (399, 260, 2)):
        assert tuple(drawn[y, x]) == COLOURS[vote]
    assert (drawn[110:155, 210:255] == 100).all()  # inside is left alone
    assert tuple(drawn[350, 299]) == COLOURS[2]


def test_on_a_smaller_picture_they_are_smaller() -> None:
    drawn = draw_boxes(np.full((200, 150, 3), 100, np.uint8), (400, 300), boxes())
    assert tuple(drawn[50, 115]) == COLOURS[0]
    assert tuple(drawn[81, 115]) == COLOURS[0]
    assert tuple(drawn[199, 130]) == COLOURS[2]


def test_every_class_is_in_the_table_also_without_votes() -> None:
    drawn = draw_boxes(np.full((400, 300, 3), 100, np.uint8), (400, 300), boxes())
    corner = drawn[:70, :60]
    assert all(share(corner, colour) > 0 for colour in COLOURS[:3])
    many = replace(boxes(), labels=tuple("abcdefghij"), table=(0,) * 10)
    assert draw_boxes(drawn, (400, 300), many).shape == drawn.shape


def test_columns_without_boxes_have_none() -> None:
    for finding in (None, {}, {"boxes": [], "votes": FINDING["votes"]}, {"boxes": None}):
        assert Boxes.of(finding) is None


def test_the_figure_has_a_panel_for_them() -> None:
    rgb = np.full((400, 300, 3), 100, np.uint8)
    alone = figure(rgb, {}, boxes={"origin": boxes()})
    assert share(alone, COLOURS[0]) > 0
    heat = Map("probability", 8, np.zeros((50, 38), np.float32))
    both = figure(rgb, {"prnu": [heat]}, boxes={"origin": boxes()})
    assert both.shape[1] > alone.shape[1]
    assert share(figure(rgb, {"prnu": [heat]}), COLOURS[0]) == 0


@pytest.mark.parametrize("name", ["boxes", "votes"])
def test_the_page_draws_boxes_and_does_not_list_them(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from forensics.report import build, pictures

    seen = []
    monkeypatch.setattr(build, "_records", _with_boxes(build._records))
    monkeypatch.setattr(
        pictures, "figure", lambda *a, **k: (seen.append(k["boxes"]), figure(*a, **k))[1]
    )
    finding: Finding = answer(cells((0, 0)), cells((0, 0)), 0.5)
    review = build_review(commit_run(tmp_path, [(original(tmp_path, "a"), finding)]))
    [row] = embedded(review)["rows"]
    [detector] = row["detectors"].values()
    assert (name in detector) == (name == "votes")
    [drawn] = seen
    assert json.dumps([list(map(int, p)) for p in next(iter(drawn.values())).places])
    assert row["picture"] == 0


def _with_boxes(records: object) -> object:
    def found(run: object, *rest: object) -> object:
        for record in records(run, *rest):  # type: ignore[operator]
            name = next(iter(run.findings))  # type: ignore[attr-defined]
            yield {**record, name: {**record[name], **FINDING}}

    return found
