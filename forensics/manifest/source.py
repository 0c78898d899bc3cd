"""Reads people's manifests: any Parquet layout, checked, normalised, in a stream."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from forensics import storage
from forensics.manifest.columns import MANIFEST_SCHEMA
from forensics.records import ManifestRow, UserError

_REQUIRED = ("image_id", "uri")
_OTHER_NAMES = {"image_id": ("id", "image", "name"), "uri": ("url", "path", "file", "filename")}
_BATCH_ROWS = 8192
_STREAM_BYTES = 1 << 20  # read ahead per column: a row group of any size passes through it
_ABSOLUTE = r"^(/|[A-Za-z][A-Za-z0-9+.-]*://)"
_SECRET = r"(?i)^[a-z][a-z0-9+.-]*://[^/\s?#]*@|X-Amz-(Signature|Credential)=|AWSAccessKeyId="


def batches(uri: str) -> Iterator[pa.RecordBatch]:
    """The manifest's rows in the schema ``MANIFEST_SCHEMA``, checked, with absolute URIs.

    Raises
    ------
    UserError
        No manifest, no Parquet, a missing column or one of a wrong type, an empty ``image_id`` or
        ``uri`` (which row), a URI with credentials. Uniqueness is checked by ``freeze``.
    """
    files, folder = _locate(uri)
    for file in files:
        with storage.open(file) as opened:
            parquet = open_parquet(opened, file)
            columns = _known_columns(parquet.schema_arrow, file)
            row = 0
            for batch in parquet.iter_batches(_BATCH_ROWS, columns=columns):
                yield _normalise(batch, file, row, folder)
                row += batch.num_rows


def read(uri: str) -> Iterator[ManifestRow]:
    """The manifest's rows one by one; errors as ``batches``."""
    for batch in batches(uri):
        for row in batch.to_pylist():
            yield ManifestRow(**row)


def ignored_columns(uri: str) -> tuple[str, ...]:
    """Columns of the manifest that mean nothing here."""
    names: dict[str, None] = {}
    for file in _locate(uri)[0]:
        with storage.open(file) as opened:
            names |= dict.fromkeys(open_parquet(opened, file).schema_arrow.names)
    return tuple(name for name in names if name not in MANIFEST_SCHEMA.names)


def _locate(uri: str) -> tuple[list[str], str]:
    """The Parquet files of a manifest, and the folder where its relative URIs start."""
    if storage.exists(uri):
        return [uri], storage.parent(uri)
    found = [
        entry.uri
        for entry in storage.list(uri)
        if entry.name.endswith(".parquet")
        and not entry.name.rsplit("/", 1)[-1].startswith(("_", "."))  # Spark's and editors' own
    ]
    if not found:
        raise UserError(
            f"{uri}: no such manifest, and no folder with .parquet files; check the URI"
        )
    return sorted(found), uri


def open_parquet(opened: object, uri: str) -> pq.ParquetFile:
    """A Parquet file that is read piece by piece; UserError where it is none."""
    try:
        # pre_buffer would hold a whole row group, which in people's files may be the whole file
        return pq.ParquetFile(opened, buffer_size=_STREAM_BYTES, pre_buffer=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise UserError(f"{uri}: is no readable Parquet file ({error})") from error


def _known_columns(schema: pa.Schema, uri: str) -> list[str]:
    names = schema.names
    for name in _REQUIRED:
        if name not in names:
            lower = {other.lower(): other for other in names}
            guesses = [lower[known] for known in (name, *_OTHER_NAMES[name]) if known in lower]
            guesses += difflib.get_close_matches(name, names)
            hint = f" Did you mean {guesses[0]!r}? Rename it." if guesses else ""
            raise UserError(f"{uri}: no column {name!r} among {', '.join(names)}.{hint}")
    known = [name for name in MANIFEST_SCHEMA.names if name in names]
    for name in known:
        if names.count(name) > 1:
            raise UserError(f"{uri}: two columns are called {name!r}; remove one")
        kind, wanted = schema.field(name).type, MANIFEST_SCHEMA.field(name).type
        if not (_is_number(kind) if pa.types.is_integer(wanted) else _is_text(kind)):
            wish = "integers (bytes)" if pa.types.is_integer(wanted) else "text; cast it"
            raise UserError(f"{uri}: column {name!r} has the type {kind}, it must hold {wish}")
    return known


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    return pa.types.is_null(kind) or any(test(kind) for test in tests)


def _is_number(kind: pa.DataType) -> bool:
    # pandas makes floats of integers as soon as one is missing
    tests = (pa.types.is_integer, pa.types.is_floating, pa.types.is_null)
    return any(test(kind) for test in tests)


def _normalise(batch: pa.RecordBatch, uri: str, first_row: int, folder: str) -> pa.RecordBatch:
    columns = []
    for field in MANIFEST_SCHEMA:
        if field.name in batch.schema.names:
            try:
                column = batch.column(field.name).cast(field.type)
                column.validate(full=True)
            except pa.ArrowInvalid as error:
                raise UserError(
                    f"{uri}: column {field.name!r}, rows from {first_row}: {error}"
                ) from error
        else:
            column = pa.nulls(batch.num_rows, field.type)
        if field.name in _REQUIRED:
            blank = pc.equal(pc.utf8_trim_whitespace(column), "").fill_null(True)
            _refuse_rows(blank, uri, first_row, f"has an empty {field.name}; fill it in")
        elif field.name == "size":
            negative = pc.less(column, 0).fill_null(False)
            _refuse_rows(negative, uri, first_row, "has a negative size")
        if field.name.endswith("uri"):
            column = _absolute(column, uri, first_row, folder)
        columns.append(column)
    return pa.RecordBatch.from_arrays(columns, schema=MANIFEST_SCHEMA)


def _absolute(column: pa.Array, uri: str, first_row: int, folder: str) -> pa.Array:
    secret = pc.match_substring_regex(column, _SECRET).fill_null(False)
    _refuse_rows(secret, uri, first_row, "has credentials in a URI; take them out")
    absolute = pc.match_substring_regex(column, _ABSOLUTE).fill_null(True)
    if pc.all(absolute).as_py() is not False:
        return column
    texts = column.to_pylist()
    for i in np.flatnonzero(~absolute.to_numpy(zero_copy_only=False)):
        texts[i] = storage.resolve(folder, texts[i])
    return pa.array(texts, pa.string())


def _refuse_rows(wrong: pa.Array, uri: str, first_row: int, fault: str) -> None:
    rows = np.flatnonzero(wrong.to_numpy(zero_copy_only=False))
    if len(rows):
        raise UserError(f"{uri}: row {first_row + int(rows[0])} (counted from 0) {fault}")
