"""Hashes over manifest rows: what the rows are, and whether an image_id occurs twice."""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from forensics.manifest.columns import MANIFEST_SCHEMA
from forensics.records import UserError

_NAMED_DUPLICATES = 5
_CHECKED_CLASHES = 1000


class RowDigest:
    """SHA-256 of rows in their order, whatever batches they come in.

    Per column, the lengths (int32 little-endian, -1 for null; for ``size`` the int64 values) and
    the concatenated UTF-8 are hashed; the digest is the SHA-256 of those hashes and the names.
    """

    def __init__(self) -> None:
        self._hashes = {
            name: (hashlib.sha256(), hashlib.sha256()) for name in MANIFEST_SCHEMA.names
        }

    def update(self, batch: pa.RecordBatch) -> None:
        for name, (lengths, content) in self._hashes.items():
            column = batch.column(name)
            if pa.types.is_integer(column.type):
                content.update(_little_endian(column.fill_null(-1), "<i8"))
                continue
            lengths.update(_little_endian(pc.binary_length(column).fill_null(-1), "<i4"))
            text = column.fill_null("")
            _, offsets, data = text.buffers()
            if data is not None and len(text):
                ends = np.frombuffer(offsets, np.int32)[text.offset : text.offset + len(text) + 1]
                content.update(memoryview(data)[ends[0] : ends[-1]])

    def hexdigest(self) -> str:
        total = hashlib.sha256()
        for name, (lengths, content) in self._hashes.items():
            total.update(name.encode() + b"\0" + lengths.digest() + content.digest())
        return total.hexdigest()


def _little_endian(column: pa.Array, kind: str) -> bytes:
    return column.to_numpy(zero_copy_only=False).astype(kind).tobytes()  # type: ignore[no-any-return]


def hash_ids(ids: pa.Array) -> bytes:
    """64-bit hashes of a text column, one after the other."""
    return b"".join(hashlib.blake2b(i.encode(), digest_size=8).digest() for i in ids.to_pylist())


def check_unique(hashes: array[int], path: str, uri: str) -> None:
    """UserError if an image_id of the file at ``path`` occurs twice; sorts ``hashes``."""
    values = np.frombuffer(hashes, np.uint64) if len(hashes) else np.empty(0, np.uint64)
    values.sort()
    repeated = values[1:][values[1:] == values[:-1]]
    if not len(repeated):
        return
    # equal hashes are no proof: look at the names behind them
    clashes = np.unique(repeated)[:_CHECKED_CLASHES]
    names: Counter[str] = Counter()
    for batch in pq.ParquetFile(path).iter_batches(columns=["image_id"]):
        column = batch.column(0)
        suspects = np.isin(np.frombuffer(hash_ids(column), np.uint64), clashes)
        names.update(column.filter(pa.array(suspects)).to_pylist())
    twice = [name for name, count in names.items() if count > 1]
    if twice:
        raise UserError(
            f"{uri}: image_id must be unique, but {len(repeated)} rows repeat an earlier one: "
            f"{', '.join(map(repr, twice[:_NAMED_DUPLICATES]))}"
            f"{', …' if len(twice) > _NAMED_DUPLICATES else ''}. Rename or remove them."
        )
