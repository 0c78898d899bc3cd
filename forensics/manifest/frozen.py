"""The copy of a manifest that a run works from: one file, fixed schema, readable by shard."""

from __future__ import annotations

import tempfile
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from forensics import storage
from forensics.manifest.columns import MANIFEST_SCHEMA
from forensics.manifest.digest import RowDigest, check_unique, hash_ids
from forensics.manifest.source import batches, ignored_columns, open_parquet
from forensics.manifest.writer import GroupedWriter
from forensics.records import ManifestRow, UserError

SHARDS_PER_GROUP = 64
"""Shards in one row group of a frozen manifest: what is read to get at one of them."""


@dataclass(frozen=True, slots=True)
class Frozen:
    """A manifest as a run uses it."""

    rows: int
    shards: int
    digest: str  # SHA-256 (hex) of the rows in their order, whatever the layout of the files
    ignored: tuple[str, ...] = ()  # columns of the source that mean nothing here


class Freezer:
    """A manifest checked and normalised into a local file, to be stored where a run keeps it.

    A context manager: the local file goes with it. ``frozen`` says what it holds; ``commit`` stores
    it, in one step. Between the two, a run can compare the digest with its own.
    """

    def __init__(self, source_uri: str, shard_rows: int = 64, limit: int | None = None) -> None:
        if shard_rows < 1 or (limit is not None and limit < 0):
            raise ValueError(f"shard_rows must be >= 1 and limit >= 0: {shard_rows}, {limit}")
        self._folder = tempfile.TemporaryDirectory(prefix="manifest-")
        self._path = str(Path(self._folder.name) / "manifest.parquet")
        try:
            self.frozen = self._build(source_uri, shard_rows, limit)
        except BaseException:
            self._folder.cleanup()
            raise

    def _build(self, source_uri: str, shard_rows: int, limit: int | None) -> Frozen:
        digest, hashes = RowDigest(), array("Q")
        with GroupedWriter(self._path, shard_rows * SHARDS_PER_GROUP) as writer:
            for batch in _first(batches(source_uri), limit):
                digest.update(batch)
                hashes.frombytes(hash_ids(batch.column("image_id")))
                writer.write(batch)
        check_unique(hashes, self._path, source_uri)
        shards = -(-len(hashes) // shard_rows)
        return Frozen(len(hashes), shards, digest.hexdigest(), ignored_columns(source_uri))

    def commit(self, target_uri: str) -> None:
        storage.write_file(target_uri, self._path)

    def __enter__(self) -> Freezer:
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()


def freeze(
    source_uri: str, target_uri: str, shard_rows: int = 64, limit: int | None = None
) -> Frozen:
    """Check a manifest (its first ``limit`` rows) and write it as a run's one frozen file.

    The file has the schema ``MANIFEST_SCHEMA`` and row groups of ``SHARDS_PER_GROUP`` shards of
    ``shard_rows`` rows, for ``ShardReader``. Raises as ``batches``, and UserError for an
    ``image_id`` that occurs twice.
    """
    with Freezer(source_uri, shard_rows, limit) as freezer:
        freezer.commit(target_uri)
        return freezer.frozen


class ShardReader:
    """Rows of a frozen manifest by shard. Keeps the footer and the last row group; one thread.

    UserError if the file was not frozen with this ``shard_rows``.
    """

    def __init__(self, uri: str, shard_rows: int) -> None:
        self._uri, self._shard_rows = uri, shard_rows
        with storage.open(uri) as opened:
            self._footer = open_parquet(opened, uri).metadata
        if not _is_frozen(self._footer, shard_rows * SHARDS_PER_GROUP):
            raise UserError(f"{uri}: was not frozen in shards of {shard_rows} rows")
        self.rows: int = self._footer.num_rows
        self.shards = -(-self.rows // shard_rows)
        self._group = -1
        self._table: pa.Table = None

    def read(self, index: int) -> list[ManifestRow]:
        """The rows of shard ``index``; the last shard may have fewer than ``shard_rows``."""
        return [ManifestRow(**row) for row in self._shard(index).to_pylist()]

    def ids(self, index: int) -> list[str]:
        """The ``image_id`` of those rows alone."""
        found: list[str] = self._shard(index)["image_id"].to_pylist()
        return found

    def _shard(self, index: int) -> pa.Table:
        if not 0 <= index < self.shards:
            raise ValueError(f"{self._uri}: there is no shard {index}; it has {self.shards}")
        group, within = divmod(index, SHARDS_PER_GROUP)
        if group != self._group:
            with storage.open(self._uri) as opened:
                file = pq.ParquetFile(opened, metadata=self._footer)
                self._table, self._group = file.read_row_group(group), group
        return self._table.slice(within * self._shard_rows, self._shard_rows)


def _is_frozen(footer: pq.FileMetaData, group_rows: int) -> bool:
    sizes = [footer.row_group(i).num_rows for i in range(footer.num_row_groups)]
    return (
        footer.schema.to_arrow_schema().names == MANIFEST_SCHEMA.names
        and all(size == group_rows for size in sizes[:-1])
        and all(size <= group_rows for size in sizes[-1:])
    )


def _first(source: Iterator[pa.RecordBatch], limit: int | None) -> Iterator[pa.RecordBatch]:
    left = limit
    for batch in source:
        if left is None:
            yield batch
            continue
        yield batch.slice(0, left)
        left -= batch.num_rows
        if left <= 0:
            return
