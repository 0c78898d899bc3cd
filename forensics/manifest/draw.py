"""Rows of a manifest drawn at random in one pass, and what the manifest says of its sizes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from forensics.manifest.columns import MANIFEST_SCHEMA
from forensics.manifest.source import batches
from forensics.records import ManifestRow

LARGEST = 8
"""Rows of the largest files that are kept."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """A look at a manifest."""

    rows: int
    sample: tuple[ManifestRow, ...]  # without replacement, in random order
    largest: tuple[ManifestRow, ...]  # by ``size``, largest first; of rows that have one
    size: int | None  # bytes of all files; None where a row does not say


def draw(uri: str, count: int, seed: int, limit: int | None = None) -> Drawn:
    """Draw ``count`` rows, or all there are, of the manifest's first ``limit``.

    Raises as `forensics.manifest.read`.
    """
    rng = np.random.default_rng(seed)
    sample, keys = MANIFEST_SCHEMA.empty_table(), np.empty(0)
    largest, rows, size, unknown = MANIFEST_SCHEMA.empty_table(), 0, 0, 0
    for batch in batches(uri):
        part = pa.Table.from_batches([batch])
        if limit is not None:
            part = part.slice(0, limit - rows)
        rows += len(part)
        size += pc.sum(part["size"]).as_py() or 0
        unknown += part["size"].null_count
        sample = pa.concat_tables([sample, part])
        keys = np.concatenate([keys, rng.random(len(part))])
        kept = np.argsort(keys, kind="stable")[:count]
        sample, keys = sample.take(kept), keys[kept]
        known = pa.concat_tables([largest, part.filter(pc.is_valid(part["size"]))])
        largest = known.sort_by([("size", "descending")]).slice(0, LARGEST)
        if rows == limit:
            break
    return Drawn(rows, _rows(sample), _rows(largest), None if unknown else size)


def _rows(table: pa.Table) -> tuple[ManifestRow, ...]:
    return tuple(ManifestRow(**row) for row in table.to_pylist())
