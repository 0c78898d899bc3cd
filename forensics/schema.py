"""Arrow schemas of the outputs, and the way from a `ReportRow` to their rows.

A report has fixed columns and one struct per detector of the run; maps are PNG bytes in a table of
their own. `VERSION` is stored in every file and rises when a column changes its meaning.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from forensics.records import Finding, ReportRow, Status
from forensics.report.mapcodec import encode_map

VERSION = 1

_FIXED = [
    ("row", pa.int64()),  # position in the run's manifest
    ("image_id", pa.string()),
    ("uri", pa.string()),
    ("status", pa.string()),
    ("reason", pa.string()),
    ("camera_id", pa.string()),  # as the manifest claims
    ("label", pa.string()),
    ("split", pa.string()),
    ("source", pa.string()),
    ("mask_uri", pa.string()),
    ("sha256", pa.string()),  # of the bytes as found, hex
    ("size", pa.int64()),  # bytes
    ("width", pa.int32()),  # pixels, on the sensor grid
    ("height", pa.int32()),
    ("format", pa.string()),
    ("bit_depth", pa.int32()),
    ("jpeg_quality", pa.int32()),
    ("orientation", pa.int32()),  # EXIF tag, not applied
    ("seconds", pa.float64()),
]

MARKS = {
    "pristine_higher": pa.float64(),  # share of pristine images that score at least as high
    "flagged": pa.bool_(),  # the score is above the threshold of the calibration
}
"""What a calibration says of a detector's score."""

MAPS = pa.schema(
    [
        ("image_id", pa.string()),
        ("detector", pa.string()),
        ("kind", pa.string()),  # probability | confidence | decision | noiseprint
        ("stride", pa.int32()),  # pixels per cell
        ("png", pa.binary()),
        ("sha256", pa.string()),  # of the PNG bytes, hex
    ],
    metadata={"schema_version": str(VERSION)},
)


def report_schema(
    columns: Mapping[str, Mapping[str, pa.DataType]], calibrated: bool = False
) -> pa.Schema:
    """Schema of a report, given each detector's name and own columns, in this order.

    A ``calibrated`` one has `MARKS` too, empty where a detector has no score or no calibration.
    """
    marks = MARKS if calibrated else {}
    structs = [(name, _struct(name, own, marks)) for name, own in columns.items()]
    return pa.schema([*_FIXED, *structs], metadata={"schema_version": str(VERSION)})


def report_record(index: int, report: ReportRow) -> dict[str, Any]:
    """One report row as plain values; ``index`` is its position in the run's manifest."""
    row = report.row
    return {
        "row": index,
        "image_id": row.image_id,
        "uri": row.uri,
        "status": str(report.status),
        "reason": report.reason,
        "camera_id": row.camera_id,
        "label": row.label,
        "split": row.split,
        "source": row.source,
        "mask_uri": row.mask_uri,
        "sha256": report.sha256,
        "size": report.size,
        "width": report.width,
        "height": report.height,
        "format": report.format,
        "bit_depth": report.bit_depth,
        "jpeg_quality": report.jpeg_quality,
        "orientation": report.orientation,
        "seconds": report.seconds,
        **{name: _finding_record(finding) for name, finding in report.findings.items()},
    }


def map_records(report: ReportRow) -> list[dict[str, Any]]:
    """The maps of one report row, encoded, in the order the detectors gave them."""
    records = []
    for detector, finding in report.findings.items():
        for item in finding.maps:
            png = encode_map(item)
            records.append(
                {
                    "image_id": report.row.image_id,
                    "detector": detector,
                    "kind": item.kind,
                    "stride": item.stride,
                    "png": png,
                    "sha256": hashlib.sha256(png).hexdigest(),
                }
            )
    return records


def to_parquet(records: Iterable[Mapping[str, Any]], schema: pa.Schema) -> bytes:
    """Records as the bytes of one Parquet file, with checksums; the same for the same records."""
    table = pa.Table.from_pylist([dict(record) for record in records], schema=schema)
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd", write_page_checksum=True)
    return buffer.getvalue()


def from_parquet(data: bytes, columns: Sequence[str] | None = None) -> pa.Table:
    """Table of a Parquet file's bytes. Raises `pa.ArrowInvalid` when the bytes are damaged.

    ``columns`` may name a part of a struct: ``prnu.score`` reads the struct with that part alone.
    """
    file = pq.ParquetFile(io.BytesIO(data), page_checksum_verification=True)
    return file.read(columns=list(columns) if columns else None)


def _struct(
    detector: str, own: Mapping[str, pa.DataType], marks: Mapping[str, pa.DataType]
) -> pa.DataType:
    common = {
        "status": pa.string(),
        "reason": pa.string(),
        "score": pa.float64(),  # 0..1, higher is more suspicious
        "seconds": pa.float64(),
    }
    if clash := (common.keys() | MARKS.keys()) & own.keys():
        raise ValueError(f"detector {detector} may not name its own columns {sorted(clash)}")
    return pa.struct([*common.items(), *marks.items(), *own.items()])


def _finding_record(finding: Finding) -> dict[str, Any]:
    return {
        "status": str(finding.status),
        "reason": finding.reason,
        "score": finding.score,
        "seconds": finding.seconds,
        **finding.values,
    }


STATUSES = tuple(str(status) for status in Status)
