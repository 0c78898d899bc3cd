"""Writes manifests: a few rows at once, or any number of them in a stream."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import asdict
from types import TracebackType

import pyarrow as pa
import pyarrow.parquet as pq

from forensics import storage
from forensics.manifest.columns import MANIFEST_SCHEMA
from forensics.records import ManifestRow


def write_manifest(rows: Iterable[ManifestRow] | pa.Table, uri: str) -> None:
    """Write rows as one manifest file, in one step."""
    if not isinstance(rows, pa.Table):
        rows = pa.Table.from_pylist([asdict(row) for row in rows], MANIFEST_SCHEMA)
    sink = io.BytesIO()
    pq.write_table(rows, sink, compression="zstd")
    storage.write(uri, sink.getvalue())


class GroupedWriter:
    """Writes batches of any size to a local Parquet file with row groups of ``group_rows``."""

    def __init__(self, path: str, group_rows: int) -> None:
        self._group_rows = group_rows
        self._waiting: list[pa.RecordBatch] = []
        self._count = 0
        self._writer = pq.ParquetWriter(
            path,
            MANIFEST_SCHEMA,
            compression="zstd",
            use_dictionary=["camera_id", "split", "label", "source"],
            write_statistics=False,  # nobody searches by value, and footers stay small
        )

    def write(self, batch: pa.RecordBatch) -> None:
        self._waiting.append(batch)
        self._count += batch.num_rows
        if self._count >= self._group_rows:
            self._flush(self._count - self._count % self._group_rows)

    def _flush(self, rows: int) -> None:
        table = pa.Table.from_batches(self._waiting, MANIFEST_SCHEMA)
        self._writer.write_table(table.slice(0, rows), row_group_size=self._group_rows)
        rest = table.slice(rows)
        self._waiting, self._count = rest.to_batches(), rest.num_rows

    def __enter__(self) -> GroupedWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None and self._count:
            self._flush(self._count)
        self._writer.close()
