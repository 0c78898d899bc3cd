"""From a run's outputs to its page: choose the rows worth looking at and draw their pictures."""

from __future__ import annotations

import heapq
import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

import pyarrow as pa
from PIL import Image as PillowImage

from forensics import storage
from forensics.calibration.record import Calibration
from forensics.calibration.tally import count_flags
from forensics.report.boxes import COLUMN
from forensics.report.contact import Frame, contact_sheet
from forensics.report.decisions import decisions, latest
from forensics.report.gallery import Watch, make_gallery
from forensics.report.page import PageRow, PageSummary, render_page, worst_first
from forensics.report.pictures import MIME, Picture
from forensics.report.sieve import Sieve
from forensics.report.suspects import file_name, leading, suspects_table
from forensics.run import Run, load_document
from forensics.text import shell_word

ROWS = 10_000
"""Rows on a page, worst first; the report has them all."""

PICTURES = 60
"""Rows whose picture is made; each means reading one original, once."""

SUSPECTS = 100
"""Rows of the table of the most suspicious images."""

_FLAGGED: Final = "flagged"  # beside the statuses of a count, none of which is called so


@dataclass(frozen=True)
class Review:
    """The page, and the worst of it for those who look elsewhere."""

    page: str
    pictures: tuple[PillowImage.Image, ...]  # sheets by rank
    contact: PillowImage.Image | None  # the same images as thumbnails; None where there are none
    suspects: Mapping[str, list[Any]]  # columns of `suspects_table`


def build_review(
    run: Run,
    rows: int = ROWS,
    pictures: int = PICTURES,
    shown: int = 12,
    calibration: Calibration | None = None,
    watch: Watch = lambda _: lambda _: None,
) -> Review:
    """Read the report, draw the worst images and render the page. Memory is bounded by ``rows``.

    A row's own score is the highest of its detectors'; where the scan has a calibration, the order
    is that of the smallest share of pristine images that score as high. ``calibration`` takes the
    place of the scan's, or gives one to a scan that had none. The first ``pictures`` rows that were
    decoded get a picture, unless they have one from an earlier time; an original that cannot be
    read any more, or is another file now, leaves its row without.
    """
    tally: Counter[str] = Counter()
    found = _records(run, tally, calibration, rows)
    worst = heapq.nsmallest(rows, found, key=_worst_first)
    gallery = make_gallery(run, worst, pictures, watch)
    decided = {name: one.plain() for name, one in latest(decisions(run)).items()}
    pages = [
        replace(
            _page_row(record, run.findings),
            decision=decided.get(record["image_id"]),
            **gallery.of(record),
        )
        for record in worst
    ]
    document = load_document(run.uri)
    flags = document["counts"].get("flags")
    note = flags["sentence"] if flags else ""
    if calibration is not None:
        note = count_flags(run, calibration).sentence()
    summary = PageSummary(
        title=f"Scan of {run.rows} images",
        counts={name: count for name, count in tally.items() if name != _FLAGGED},
        flagged=tally[_FLAGGED] if run.calibrated or calibration else None,
        note=note,
        digest=run.digest,
        created=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        versions=document["versions"],
        more=f"python -m jobs.report --run {shell_word(run.uri)} --pictures {len(worst)}",
    )
    drawn = [
        (record, gallery.inside[record["image_id"]])
        for record in worst
        if record["image_id"] in gallery.inside
    ][:shown]
    frames = [_frame(rank, record, run, one) for rank, (record, one) in enumerate(drawn, 1)]
    scored = [record for record in worst if record["score"] is not None][:SUSPECTS]
    return Review(
        page=render_page(pages, summary),
        pictures=tuple(PillowImage.open(io.BytesIO(one.sheet)) for _, one in drawn),
        contact=PillowImage.fromarray(contact_sheet(frames)) if frames else None,
        suspects=suspects_table(run, scored),
    )


def _frame(rank: int, record: Mapping[str, Any], run: Run, picture: Picture) -> Frame:
    score = "no score" if record["score"] is None else f"{record['score']:.2f}"
    share = "" if record["share"] is None else f" · {record['share']:.2g} of pristine"
    first = f"{rank}  {score} {leading(record, run.findings)}{share}"
    return Frame(picture.thumbnail, first, file_name(record))


def write_review(run: Run, review: Review) -> str:
    """Store the page as ``page.html`` in the run's folder; returns its URI."""
    uri = storage.join(run.uri, "page.html")
    storage.write(uri, review.page.encode("utf-8"))
    return uri


def row_score(record: Mapping[str, Any], detectors: Sequence[str]) -> float | None:
    """The highest score that a detector gave this report row; None where none gave one."""
    findings = (record.get(name) for name in detectors)
    scores = [f["score"] for f in findings if f is not None and f["score"] is not None]
    return max(scores, default=None)


def _records(
    run: Run, counts: Counter[str], calibration: Calibration | None, keep: int
) -> Iterator[dict[str, Any]]:
    """Those that may be among the ``keep`` worst; all are counted."""
    sieve = Sieve(keep, run.findings, calibration)
    for shard, table in run.reports():
        counts.update(table["status"].to_pylist())
        passed = sieve(table)
        counts[_FLAGGED] = sieve.flagged
        for row in table.take(pa.array(passed)).to_pylist():
            record = calibration.marked(row) if calibration else row
            share, flagged = row_marks(record, run.findings)
            score = row_score(record, run.findings)
            yield {**record, "shard": shard, "score": score, "share": share, "flagged": flagged}


def row_marks(record: Mapping[str, Any], detectors: Sequence[str]) -> tuple[float | None, bool]:
    """Smallest share of pristine images that score as high, and whether any detector flags it."""
    findings = [record[name] for name in detectors if record.get(name) is not None]
    shares = [f["pristine_higher"] for f in findings if f.get("pristine_higher") is not None]
    return min(shares, default=None), any(f.get("flagged") for f in findings)


def _worst_first(record: Mapping[str, Any]) -> tuple[float, bool, float, int, str]:
    return worst_first(record["score"], record["status"], record["image_id"], record["share"])


def _page_row(record: Mapping[str, Any], detectors: Sequence[str]) -> PageRow:
    return PageRow(
        image_id=record["image_id"],
        uri=record["uri"],
        status=record["status"],
        reason=record["reason"],
        camera_id=record["camera_id"],
        label=record["label"],
        width=record["width"],
        height=record["height"],
        size=record["size"],
        sha256=record["sha256"],
        detectors={
            name: _shown(record[name]) for name in detectors if record.get(name) is not None
        },
        score=record["score"],
        share=record["share"],
        flagged=record["flagged"],
        picture_mime=MIME,
    )


def _shown(finding: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of a detector that are read; its boxes are drawn."""
    return {name: value for name, value in finding.items() if name != COLUMN}
