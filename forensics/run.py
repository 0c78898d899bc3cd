"""A run: an output folder bound to what its answers depend on, filled shard by shard.

run.json                      inputs, digest, settings, versions, counts
manifest.parquet              the manifest as it was when the run began
calibration.json              thresholds that images are flagged by, if the scan was given any
report/shard-00000000.parquet one row per image; its presence means the shard is done
maps/shard-00000000-*.parquet pictures of the shard, named by their content; the report names them
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence, Set
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import pyarrow as pa

import forensics
from forensics import schema, storage
from forensics.config import digest
from forensics.records import UserError

FORMAT = 2
READERS = 8
"""Threads that read reports; each mostly waits for storage."""

_SHARD = re.compile(r"shard-(\d{8})\.parquet$")
_MAPS = b"maps"  # where a report has the SHA-256 of its maps' file
_LIBRARIES = ("torch", "numpy", "pillow", "pyarrow", "scikit-image", "scikit-learn")


@dataclass(frozen=True)
class Run:
    """An opened run. Every write is one atomic put, so a kill at any moment leaves it whole."""

    uri: str
    digest: str
    schema: pa.Schema  # of its report
    rows: int
    shards: int
    shard_rows: int

    @property
    def findings(self) -> tuple[str, ...]:
        """Names of the report's detector columns."""
        return tuple(field.name for field in self.schema if pa.types.is_struct(field.type))

    @property
    def calibrated(self) -> bool:
        """Whether its rows are marked by a calibration."""
        return any(
            self.schema.field(name).type.get_field_index("flagged") >= 0 for name in self.findings
        )

    @property
    def calibration_uri(self) -> str:
        return storage.join(self.uri, "calibration.json")

    @property
    def manifest_uri(self) -> str:
        return storage.join(self.uri, "manifest.parquet")

    def report_uri(self, shard: int) -> str:
        return storage.join(self.uri, "report", f"shard-{shard:08d}.parquet")

    def maps_uri(self, shard: int) -> str:
        """File of the maps that belong to the report of a committed shard."""
        return self._maps_at(shard, _maps_digest(self.report(shard, ["row"])))

    def _maps_at(self, shard: int, sha256: str) -> str:
        return storage.join(self.uri, "maps", _maps_name(shard, sha256))

    def rows_of(self, shard: int) -> range:
        """Positions in the manifest of a shard's rows."""
        start = shard * self.shard_rows
        return range(start, min(start + self.shard_rows, self.rows))

    def committed(self) -> set[int]:
        """Shards that are done, by a listing of the reports."""
        names = (entry.uri for entry in storage.list(storage.join(self.uri, "report")))
        return {int(match[1]) for name in names if (match := _SHARD.search(name))}

    def stored_maps(self) -> set[str]:
        """Names of all files of maps, by a listing."""
        return {entry.name for entry in storage.list(storage.join(self.uri, "maps"))}

    def commit(
        self,
        shard: int,
        records: Sequence[Mapping[str, Any]],
        maps: Sequence[Mapping[str, Any]],
        *,
        again: bool = False,
    ) -> int:
        """Write a shard: maps first, report last. Returns the bytes written.

        ``again``: in place of the committed one, whose maps stay until the new report is there.
        """
        map_bytes = schema.to_parquet(maps, schema.MAPS)
        sha256 = hashlib.sha256(map_bytes).hexdigest()
        about = {
            **self.schema.metadata,
            b"run": self.digest.encode(),
            b"shard": b"%d" % shard,
            _MAPS: sha256.encode(),
        }
        report_bytes = schema.to_parquet(records, self.schema.with_metadata(about))
        before = self.maps_uri(shard) if again else None
        uri = self._maps_at(shard, sha256)
        storage.write(uri, map_bytes)
        storage.write(self.report_uri(shard), report_bytes)
        if before is not None and before != uri:
            storage.delete(before)
        return len(map_bytes) + len(report_bytes)

    def report(self, shard: int, columns: Sequence[str] | None = None) -> pa.Table:
        """Report rows of a committed shard. Raises `UserError` if the file is damaged.

        Read whole, without ``columns``, it must be of this run and of that shard, too.
        """
        uri = self.report_uri(shard)
        table = _table(uri, uri, storage.read(uri), columns)
        about = table.schema.metadata or {}
        whole = columns is None
        if whole and not (
            table.schema.equals(self.schema)
            and about.get(b"run") == self.digest.encode()
            and about.get(b"shard") == b"%d" % shard
            and _MAPS in about
        ):
            raise _damaged(uri, uri, "it is not what this run wrote there")
        return table

    def reports(self, columns: Sequence[str] | None = None) -> Iterator[tuple[int, pa.Table]]:
        """Every committed shard and its report, in order, a few of them read ahead on threads."""
        ahead: deque[tuple[int, Future[pa.Table]]] = deque()
        with ThreadPoolExecutor(READERS) as pool:
            for shard in sorted(self.committed()):
                ahead.append((shard, pool.submit(self.report, shard, columns)))
                if len(ahead) > 2 * READERS:
                    first, table = ahead.popleft()
                    yield first, table.result()
            for shard, table in ahead:
                yield shard, table.result()

    def maps(self, shard: int) -> pa.Table:
        """Map rows of a committed shard. Raises `UserError` if the file is damaged or missing."""
        sha256 = _maps_digest(self.report(shard, ["row"]))
        uri, report_uri = self._maps_at(shard, sha256), self.report_uri(shard)
        try:
            data = storage.read(uri)
        except storage.NotFound:
            raise _damaged(uri, report_uri, "it is missing") from None
        if hashlib.sha256(data).hexdigest() != sha256:
            raise _damaged(uri, report_uri, "its SHA-256 is not what the report says")
        return _table(uri, report_uri, data)

    def maps_missing(self, shard: int, report: pa.Table, stored: Set[str]) -> UserError | None:
        """What to say where the maps of a report, read whole, are not among those ``stored``."""
        sha256 = _maps_digest(report)
        if _maps_name(shard, sha256) in stored:
            return None
        return _damaged(self._maps_at(shard, sha256), self.report_uri(shard), "it is missing")

    def note(self, state: str, counts: Mapping[str, Any]) -> None:
        """Record how far the run is: ``running``, ``complete`` or ``incomplete``."""
        document = {**load_document(self.uri), "state": state, "counts": dict(counts)}
        document["updated"] = _now()
        _write_document(self.uri, document)


def open_run(
    uri: str,
    *,
    inputs: Mapping[str, Any],
    settings: Mapping[str, Any],
    detectors: Sequence[str],
    rows: int,
    shards: int,
    shard_rows: int,
    models: Mapping[str, Any] | None = None,
    calibration: str | None = None,
) -> Run:
    """Begin a run, or continue the one in that folder if it depends on the same ``inputs``.

    ``inputs`` are flat: dotted name → value. ``models`` says, by detector, what weights and camera
    models it works with, ``calibration`` the digest of the one that marks the rows. Raises
    `UserError` that says what differs.
    """
    if storage.exists(storage.join(uri, "run.json")):
        if other := difference(uri, inputs):
            raise UserError(other)
    else:
        document = {
            "format": FORMAT,
            "digest": digest(inputs),
            "inputs": dict(inputs),
            "settings": dict(settings),
            "detectors": list(detectors),
            "models": dict(models or {}),
            "calibration": calibration,
            "versions": versions(),
            "rows": rows,
            "shards": shards,
            "shard_rows": shard_rows,
            "state": "running",
            "counts": {},
            "started": _now(),
            "updated": _now(),
        }
        _write_document(uri, document)
    return load_run(uri)


def load_run(uri: str) -> Run:
    """The run in a folder. Raises `UserError` if there is none."""
    from forensics.detectors import columns  # brings torch, which those who only commit do without

    document = load_document(uri)
    return Run(
        uri=uri,
        digest=document["digest"],
        schema=schema.report_schema(
            columns(document["detectors"]), calibrated=document.get("calibration") is not None
        ),
        rows=document["rows"],
        shards=document["shards"],
        shard_rows=document["shard_rows"],
    )


def load_document(uri: str) -> dict[str, Any]:
    """Content of ``run.json``."""
    path = storage.join(uri, "run.json")
    try:
        document: dict[str, Any] = json.loads(storage.read(path))
    except storage.NotFound:
        raise UserError(f"{uri} holds no run (there is no run.json in it)") from None
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}); restore it or use another folder") from None
    if document.get("format") != FORMAT:
        raise UserError(f"{path} has format {document.get('format')}, this version reads {FORMAT}")
    return document


def versions() -> dict[str, str]:
    """Version of this package, digest of its source, and the libraries its answers depend on."""
    found = {name: metadata.version(name) for name in _LIBRARIES}
    return {"forensics": forensics.__version__, "source": source_digest(), **found}


def source_digest() -> str:
    """SHA-256 (first 16 hex digits) over the package's source files, by path and content."""
    root = Path(forensics.__file__).parent
    total = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        total.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return total.hexdigest()[:16]


def _maps_digest(report: pa.Table) -> str:
    """SHA-256 (hex) of the file of maps that a report names."""
    sha256: bytes = (report.schema.metadata or {}).get(_MAPS, b"")
    return sha256.decode("ascii", "replace")


def _maps_name(shard: int, sha256: str) -> str:
    return f"shard-{shard:08d}-{sha256[:16]}.parquet"


def _table(
    uri: str, report_uri: str, data: bytes, columns: Sequence[str] | None = None
) -> pa.Table:
    try:
        return schema.from_parquet(data, columns)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _damaged(uri, report_uri, str(error)) from None


def _damaged(uri: str, report_uri: str, why: str) -> UserError:
    """What to do is to delete the report: a shard without one counts as not done."""
    what = "it" if uri == report_uri else report_uri
    return UserError(
        f"{uri} is damaged ({why}). Delete {what} and run the scan again: only its images are "
        "examined anew."
    )


def _write_document(uri: str, document: Mapping[str, Any]) -> None:
    text = json.dumps(document, indent=2, ensure_ascii=False)
    storage.write(storage.join(uri, "run.json"), text.encode())


def difference(uri: str, new: Mapping[str, Any]) -> str | None:
    """Why the run in that folder cannot be continued with these inputs; None where it can."""
    document = load_document(uri)
    if document["digest"] == digest(new):
        return None
    old = document["inputs"]
    names = sorted(n for n in old.keys() | new.keys() if old.get(n) != new.get(n))
    lines = [f"  {name}: {old.get(name)!r} there, {new.get(name)!r} now" for name in names]
    return "\n".join(
        [
            f"{uri} holds a run with other inputs; mixing them would make its report untrue.",
            *lines,
            "Choose another output folder, or set these back to continue that run.",
        ]
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
