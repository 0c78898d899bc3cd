"""From a run's outputs to its page: choose the rows worth looking at and draw their pictures."""

from __future__ import annotations

import hashlib
import heapq
import io
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from PIL import Image as PillowImage

from forensics import storage
from forensics.calibration.record import Calibration
from forensics.calibration.tally import count_flags
from forensics.decode import decode
from forensics.records import Map, Unreadable
from forensics.report.boxes import COLUMN, Boxes
from forensics.report.decisions import decisions, latest
from forensics.report.figure import figure
from forensics.report.mapcodec import decode_map
from forensics.report.overlay import encode_picture
from forensics.report.page import PageRow, PageSummary, render_page, worst_first
from forensics.run import Run, load_document

ROWS = 10_000
"""Rows on a page, worst first; the report has them all."""

PICTURES = 60
"""Rows with a picture; each means reading one original again."""

_MIME: Final = "image/webp"
_FLAGGED: Final = "flagged"  # beside the statuses of a count, none of which is called so


@dataclass(frozen=True)
class Review:
    """The page, and its first pictures by rank for those who look elsewhere."""

    page: str
    pictures: tuple[PillowImage.Image, ...]


def build_review(
    run: Run,
    rows: int = ROWS,
    pictures: int = PICTURES,
    shown: int = 12,
    calibration: Calibration | None = None,
) -> Review:
    """Read the report, draw the worst images and render the page. Memory is bounded by ``rows``.

    A row's own score is the highest of its detectors'; where the scan has a calibration, the order
    is that of the smallest share of pristine images that score as high. ``calibration`` takes the
    place of the scan's, or gives one to a scan that had none. An original that cannot be read any
    more, or is another file now, leaves its row without a picture.
    """
    counts: Counter[str] = Counter()
    worst = heapq.nsmallest(rows, _records(run, counts, calibration), key=_worst_first)
    pages = [_page_row(record, run.findings) for record in worst]
    drawn = _draw(run, worst, pictures)
    decided = {name: one.plain() for name, one in latest(decisions(run)).items()}
    pages = [
        replace(page, picture=drawn.get(page.image_id), decision=decided.get(page.image_id))
        for page in pages
    ]
    document = load_document(run.uri)
    flags = document["counts"].get("flags")
    note = flags["sentence"] if flags else ""
    if calibration is not None:
        note = count_flags(run, calibration).sentence()
    summary = PageSummary(
        title=f"Scan of {run.rows} images",
        counts={name: count for name, count in counts.items() if name != _FLAGGED},
        flagged=counts[_FLAGGED] if run.calibrated or calibration else None,
        note=note,
        digest=run.digest,
        created=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        versions=document["versions"],
    )
    first = [drawn[record["image_id"]] for record in worst if record["image_id"] in drawn][:shown]
    return Review(
        page=render_page(pages, summary, max_pictures=pictures),
        pictures=tuple(PillowImage.open(io.BytesIO(data)) for data in first),
    )


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
    run: Run, counts: Counter[str], calibration: Calibration | None
) -> Iterator[dict[str, Any]]:
    for shard in sorted(run.committed()):
        for stored in run.report(shard).to_pylist():
            record = calibration.marked(stored) if calibration else stored
            counts[record["status"]] += 1
            share, flagged = row_marks(record, run.findings)
            counts[_FLAGGED] += flagged
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
        picture_mime=_MIME,
    )


def _shown(finding: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of a detector that are read; its boxes are drawn."""
    return {name: value for name, value in finding.items() if name != COLUMN}


def _draw(run: Run, worst: Sequence[Mapping[str, Any]], pictures: int) -> dict[str, bytes]:
    """Figures of the first rows that were decoded, by image id."""
    chosen = [record for record in worst if record["width"] is not None][:pictures]
    maps = _maps(run, chosen)

    def one(record: Mapping[str, Any]) -> bytes | None:
        try:
            data = storage.read(record["uri"])
            if record["sha256"] not in (None, hashlib.sha256(data).hexdigest()):
                return None  # another file by now: the maps are not of it
            pixels = decode(data).pixels
        except (storage.StorageError, Unreadable):
            return None
        score = "" if record["score"] is None else f"  score {record['score']:.2f}"
        if record["share"] is not None:
            score += f"  as high: {record['share']:.2%} of pristine"
        title = f"{record['image_id']}{score}"
        found = {name: Boxes.of(record.get(name)) for name in run.findings}
        boxes = {name: each for name, each in found.items() if each is not None}
        sheet = figure(pixels, maps[record["image_id"]], title, boxes=boxes)
        return encode_picture(sheet, _MIME)

    with ThreadPoolExecutor(2) as pool:
        figures = pool.map(one, chosen)
        return {r["image_id"]: f for r, f in zip(chosen, figures, strict=True) if f is not None}


def _maps(run: Run, chosen: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, list[Map]]]:
    """Maps of the chosen rows, by image and detector, one shard in memory at a time."""
    by_shard: dict[int, set[str]] = defaultdict(set)
    for record in chosen:
        by_shard[record["shard"]].add(record["image_id"])
    found: dict[str, dict[str, list[Map]]] = {record["image_id"]: {} for record in chosen}
    for shard, ids in by_shard.items():
        for item in run.maps(shard).to_pylist():
            whole = hashlib.sha256(item["png"]).hexdigest() == item["sha256"]
            if whole and item["image_id"] in ids:
                decoded = decode_map(item["png"], item["kind"], item["stride"])
                found[item["image_id"]].setdefault(item["detector"], []).append(decoded)
    return found
