"""The manifest of truth that an evaluation compares with."""

from __future__ import annotations

from collections import Counter

from forensics import manifest
from forensics.records import ManifestRow, UserError
from forensics.text import visible

NAMED = 10
"""Ids that a message names."""


def read_truth(uri: str) -> dict[str, ManifestRow]:
    """The rows of a manifest of truth by image_id. Raises `UserError` where an id repeats."""
    rows: dict[str, ManifestRow] = {}
    twice: Counter[str] = Counter()
    for row in manifest.read(uri):
        twice[row.image_id] += row.image_id in rows
        rows[row.image_id] = row
    if repeated := [image_id for image_id, count in twice.items() if count]:
        raise UserError(
            f"{uri}: image_id must be unique, but {len(repeated)} occur more than once: "
            f"{named(repeated)}. Rename or remove them."
        )
    return rows


def named(ids: list[str], count: int | None = None) -> str:
    """The first ids, and how many more of ``count`` there are."""
    rest = (count or len(ids)) - len(ids[:NAMED])
    return ", ".join(map(visible, ids[:NAMED])) + (f" and {rest} more" if rest else "")
