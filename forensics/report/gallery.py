"""Which rows of a page have a picture, and whether it is in the page or a file beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from forensics.report.pictures import Picture, load_picture, make_pictures, picture_name, stored
from forensics.run import Run

EMBEDDED = 60
"""Pictures in the page itself; the others are files beside it."""

Watch = Callable[[int], Callable[[str], None]]
"""Told how many pictures will be made; what it gives is told what became of each."""


@dataclass(frozen=True)
class Gallery:
    """The pictures of a page's rows."""

    inside: Mapping[str, Picture]  # by image id: in the page itself
    beside: frozenset[str]  # names of files
    failed: Mapping[str, str]  # by image id: why there is none

    def of(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """What the page's row has of it."""
        inside, name = self.inside.get(record["image_id"]), picture_name(record)
        if inside is not None:
            return {"picture": inside.sheet, "thumbnail": inside.thumbnail}
        return {
            "file": name if name in self.beside else None,
            "missing": self.failed.get(record["image_id"]),
        }


def make_gallery(
    run: Run, worst: Sequence[Mapping[str, Any]], pictures: int, watch: Watch
) -> Gallery:
    """Make the pictures that are wanted and not there, and take the first into the page.

    ``worst``: report rows in the order of the page. Wanted are those of the first ``pictures``
    that were decoded; what was made at an earlier time is shown, too.
    """
    decoded = [record for record in worst if record["width"] is not None]
    names = {record["image_id"]: picture_name(record) for record in decoded}
    first = [record["image_id"] for record in decoded[:EMBEDDED]]
    there = stored(run)
    loaded = {each: load_picture(run, names[each]) for each in first if names[each] in there}
    there -= {names[each] for each, found in loaded.items() if found is None}  # damaged
    lacking = [record for record in decoded[:pictures] if names[record["image_id"]] not in there]
    failed = make_pictures(run, lacking, watch(len(lacking))) if lacking else {}
    made = [r["image_id"] for r in lacking if r["image_id"] not in failed]
    there |= {names[each] for each in made}
    loaded |= {each: load_picture(run, names[each]) for each in first if each in made}
    inside = {each: found for each in first if (found := loaded.get(each)) is not None}
    return Gallery(inside, frozenset(there), failed)
