"""The most suspicious images of a run as a table: what was found, where the original is, what opens
the evidence."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from forensics.redact import redact
from forensics.run import Run
from forensics.text import shell_word, visible


def suspects_table(run: Run, records: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Columns of equal length, one row for each report row, in their order.

    ``records`` are report rows that have a score, with their ``score``, ``share`` and ``flagged``
    as the page has them. ``detector`` is the one with the smallest share of pristine images or,
    without a calibration, with the highest score; ``decision`` is its answer. Text is made visible,
    and URIs are without credentials.
    """
    rows = [_row(run, rank, record) for rank, record in enumerate(records, 1)]
    calibrated = any(record["share"] is not None for record in records)
    names = [name for name in _COLUMNS if calibrated or name not in _CALIBRATED]
    return {name: [row[name] for row in rows] for name in names}


def leading(record: Mapping[str, Any], detectors: Sequence[str]) -> str:
    """The detector that gave a report row its place; an empty text where none gave a score."""

    def place(name: str) -> tuple[float, float]:
        share = record[name].get("pristine_higher")
        return math.inf if share is None else share, -record[name]["score"]

    scored = [n for n in detectors if record.get(n) and record[n]["score"] is not None]
    return min(scored, key=place, default="")


def file_name(record: Mapping[str, Any]) -> str:
    """Last part of the original's URI, made visible."""
    parts = [part for part in redact(record["uri"]).split("/") if part]
    return visible(parts[-1] if parts else record["image_id"])


def evidence_command(run_uri: str, image_id: str) -> str:
    """What makes the evidence bundle of an image."""
    return f"python -m jobs.report --run {shell_word(run_uri)} --bundle {shell_word(image_id)}"


_COLUMNS = (
    "rank", "file", "score", "detector", "decision", "pristine_higher", "flagged", "camera",
    "original", "image_id", "evidence",
)  # fmt: skip
_CALIBRATED = ("pristine_higher", "flagged")


def _row(run: Run, rank: int, record: Mapping[str, Any]) -> dict[str, Any]:
    name = leading(record, run.findings)
    decided = record[name].get("decision")
    return {
        "rank": rank,
        "file": file_name(record),
        "score": round(record["score"], 4),
        "detector": name,
        "decision": "" if decided is None else "tampered" if decided else "authentic",
        "pristine_higher": record["share"],
        "flagged": record["flagged"],
        "camera": visible(record["camera_id"] or ""),
        "original": visible(redact(record["uri"])),
        "image_id": visible(record["image_id"]),
        "evidence": evidence_command(run.uri, record["image_id"]),
    }
