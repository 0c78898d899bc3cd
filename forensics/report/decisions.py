"""What reviewers decided on the images of a run: files that the page saves, kept in the run.

Each file lies in ``decisions/`` of the run's folder as it was given, under its SHA-256: files that
come at one time do not touch each other. ``decisions.parquet`` beside it is the table made of all
of them, every decision with its time; the latest on an image is the one that holds. The report
itself never changes.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Literal

import pyarrow as pa
from pydantic import AfterValidator, AwareDatetime, Field, ValidationError

from forensics import schema, storage
from forensics.config import Settings
from forensics.records import UserError
from forensics.run import Run
from forensics.text import visible

FOLDER = "decisions"
TABLE = "decisions.parquet"
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

_NAME = re.compile(r"([0-9a-f]{64})\.json")


def _time(given: datetime) -> datetime:
    """In UTC and whole milliseconds, as the page writes and the table holds it."""
    return given.astimezone(UTC).replace(microsecond=given.microsecond // 1000 * 1000)


Text = Annotated[str, Field(max_length=2000)]
Time = Annotated[AwareDatetime, AfterValidator(_time)]


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


def merge(run: Run, uri: str) -> int:
    """Put a file of decisions into the run; returns how many of them are new.

    Raises `UserError`, and changes nothing, where it is no file of decisions, is of another run, or
    names an image that the run does not hold or holds with another hash.
    """
    data = storage.read(uri, LARGEST)
    file = _parse(data, uri)
    if file.run != run.digest:
        raise UserError(
            f"these decisions are of the run {file.run[:12]}, {run.uri} is {run.digest[:12]}: they "
            "were made on another run's page"
        )
    _check(run, file.decisions)
    new = set(file.decisions) - set(decisions(run))
    name = f"{hashlib.sha256(data).hexdigest()}.json"
    storage.write_if_absent(storage.join(run.uri, FOLDER, name), data)
    _write_table(run)
    return len(new)


def decisions(run: Run) -> tuple[Decision, ...]:
    """All that were merged, each once, by image and time.

    Raises `UserError` where a file is not what was merged.
    """
    return _joined(_files(run))


def latest(found: Iterable[Decision]) -> dict[str, Decision]:
    """The decision that holds, by image id."""
    return {one.image_id: one for one in sorted(found, key=lambda one: one.decided)}


def _files(run: Run) -> frozenset[str]:
    """URIs of the files that were merged."""
    folder = storage.join(run.uri, FOLDER)
    return frozenset(one.uri for one in storage.list(folder) if _NAME.fullmatch(one.name))


def _joined(uris: Iterable[str]) -> tuple[Decision, ...]:
    found: set[Decision] = set()
    for uri in uris:
        data = storage.read(uri, LARGEST)
        if not uri.endswith(f"/{hashlib.sha256(data).hexdigest()}.json"):
            raise UserError(
                f"{uri} is not the file that was merged: its SHA-256 is not its name. Delete it, "
                "and merge the reviewer's file again"
            )
        found.update(_parse(data, uri).decisions)
    return tuple(sorted(found, key=_order))


def _order(one: Decision) -> tuple[object, ...]:
    return (
        one.image_id,
        one.decided,
        one.decision,
        one.reviewer,
        one.reason,
        one.sha256 or "",
    )


def _write_table(run: Run) -> None:
    """Make the table, until it has all files: another job may have merged one meanwhile."""
    files = _files(run)
    while True:
        records = [one.model_dump() for one in _joined(files)]
        storage.write(storage.join(run.uri, TABLE), schema.to_parquet(records, _COLUMNS))
        if (later := _files(run)) == files:
            return
        files = later


def _parse(data: bytes, uri: str) -> DecisionFile:
    try:
        return DecisionFile.model_validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "it"
        raise UserError(
            f"{uri} is no file of decisions as the page saves it: {place}: {first['msg']}"
        ) from None


def _check(run: Run, given: Sequence[Decision]) -> None:
    """Refuse images that are not the run's."""
    wanted = {one.image_id: one.sha256 for one in given}
    for shard in sorted(run.committed()):
        table = run.report(shard, ["image_id", "sha256"])
        for row in table.to_pylist():
            if row["image_id"] not in wanted:
                continue
            if wanted.pop(row["image_id"]) != row["sha256"]:
                name = visible(row["image_id"])
                raise UserError(f"{name}: the decision is on a file with another hash")
    if wanted:
        raise UserError(f"{visible(next(iter(wanted)))}: there is no such image in {run.uri}")
