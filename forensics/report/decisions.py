"""What reviewers decided on the images of a run: files that the page saves, kept in the run.

``decisions.parquet`` in the run's folder has every decision that was ever merged, with its time;
the latest on an image is the one that holds. The report itself never changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC
from typing import Annotated, Literal

import pyarrow as pa
from pydantic import AfterValidator, AwareDatetime, Field, ValidationError

from forensics import schema, storage
from forensics.config import Settings
from forensics.records import UserError
from forensics.run import Run

FILE = "decisions.parquet"
LARGEST = 64_000_000
"""Bytes of a file of decisions that is read."""

_COLUMNS = pa.schema(
    [
        ("image_id", pa.string()),
        ("sha256", pa.string()),  # of the image that was looked at, hex
        ("decision", pa.string()),
        ("reason", pa.string()),
        ("reviewer", pa.string()),
        ("decided", pa.timestamp("ms", tz="UTC")),
    ]
)

Text = Annotated[str, Field(max_length=2000)]
Time = Annotated[AwareDatetime, AfterValidator(lambda time: time.astimezone(UTC))]


class Decision(Settings):
    """A reviewer's answer on one image."""

    image_id: str = Field(min_length=1)
    sha256: str | None
    decision: Literal["forged", "pristine", "unclear"]
    reason: Text = ""
    reviewer: Text = ""
    decided: Time

    def plain(self) -> dict[str, str]:
        """For the page."""
        shown = self.model_dump(include={"decision", "reason", "reviewer"})
        return {**shown, "decided": self.decided.isoformat(timespec="milliseconds")}


class DecisionFile(Settings):
    """A file as the page saves it."""

    format: Literal[1]
    run: str  # digest
    decisions: tuple[Decision, ...]


def read_decisions(uri: str) -> DecisionFile:
    """The file. Raises `UserError` where it is no file of decisions."""
    try:
        return DecisionFile.model_validate_json(storage.read(uri, LARGEST))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "it"
        raise UserError(
            f"{uri} is no file of decisions as the page saves it: {place}: {first['msg']}"
        ) from None


def merge(run: Run, file: DecisionFile) -> int:
    """Put decisions into the run; returns how many were new.

    Raises `UserError`, and changes nothing, where the file is of another run, or names an image
    that the run does not hold or holds with another hash.
    """
    if file.run != run.digest:
        raise UserError(
            f"these decisions are of the run {file.run[:12]}, {run.uri} is {run.digest[:12]}: they "
            "were made on another run's page"
        )
    _check(run, file.decisions)
    known = list(decisions(run))
    new = [one for one in dict.fromkeys(file.decisions) if one not in set(known)]
    rows = sorted([*known, *new], key=lambda one: (one.image_id, one.decided))
    records = [one.model_dump() for one in rows]
    storage.write(storage.join(run.uri, FILE), schema.to_parquet(records, _COLUMNS))
    return len(new)


def decisions(run: Run) -> tuple[Decision, ...]:
    """All that were merged, by image and time."""
    try:
        data = storage.read(storage.join(run.uri, FILE))
    except storage.NotFound:
        return ()
    return tuple(Decision(**row) for row in schema.from_parquet(data).to_pylist())


def latest(found: Iterable[Decision]) -> dict[str, Decision]:
    """The decision that holds, by image id."""
    return {one.image_id: one for one in sorted(found, key=lambda one: one.decided)}


def _check(run: Run, given: Sequence[Decision]) -> None:
    """Refuse images that are not the run's."""
    wanted = {one.image_id: one.sha256 for one in given}
    for shard in sorted(run.committed()):
        table = run.report(shard, ["image_id", "sha256"])
        for row in table.to_pylist():
            if row["image_id"] not in wanted:
                continue
            if wanted.pop(row["image_id"]) != row["sha256"]:
                raise UserError(f"{row['image_id']}: the decision is on a file with another hash")
    if wanted:
        raise UserError(f"{next(iter(wanted))}: there is no such image in {run.uri}")
