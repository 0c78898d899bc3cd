"""The page of a scan with a calibration: its order, what is flagged, what it says of that."""

from __future__ import annotations

import random
from dataclasses import replace

from forensics.report.page import PageRow, render_page
from tests.report.pages import HOSTILE, SUMMARY
from tests.report.test_page import embedded

NOTE = f"flagged 1 of 4 images {HOSTILE[0]}"
CALIBRATED = replace(SUMMARY, flagged=1, note=NOTE)


def calibrated_rows() -> list[PageRow]:
    """Scores and rarity disagree: the detectors are not on one scale."""

    def row(name: str, score: float | None, share: float | None, status: str = "ok") -> PageRow:
        flagged = share is not None and share <= 0.01
        marks = {"pristine_higher": share, "flagged": flagged}
        detectors = {"prnu": {"status": status, "score": score, **marks}}
        return PageRow(
            name,
            f"/{name}.jpg",
            status,
            detectors=detectors,
            score=score,
            share=share,
            flagged=flagged,
        )

    return [
        row("rare", 0.2, 0.005),
        row("common", 0.9, 0.4),
        row("tied-low", 0.3, 0.02),
        row("tied-high", 0.4, 0.02),
        row("uncalibrated", 0.99, None),
        row("abstained", None, None, "not_applicable"),
        row("failed", None, None, "failed"),
    ]


def test_the_rarest_come_first_then_what_has_no_share() -> None:
    rows = calibrated_rows()
    random.Random(0).shuffle(rows)
    data = embedded(render_page(rows, CALIBRATED))
    order = ["rare", "tied-high", "tied-low", "common", "uncalibrated", "failed", "abstained"]
    assert [row["id"] for row in data["rows"]] == order
    assert data["flagged"] == 1
    assert [row["id"] for row in data["rows"] if row["flagged"]] == ["rare"]


def test_the_page_says_its_order_and_its_note_is_text() -> None:
    page, plain = render_page(calibrated_rows(), CALIBRATED), render_page([], SUMMARY)
    assert "rarest first" in page
    assert "highest score first" not in page
    assert "flagged 1 of 4 images" in page
    assert HOSTILE[0] not in page.partition("<noscript>")[0]
    assert "highest score first" in plain
    assert "rarest first" not in plain
    assert embedded(plain)["flagged"] is None
