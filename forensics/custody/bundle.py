"""From a run to the bundle of one image: what was said of it, on what grounds, how to repeat it."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml

from forensics import storage
from forensics.custody import container
from forensics.manifest import MANIFEST_SCHEMA, ShardReader
from forensics.records import ManifestRow, UserError
from forensics.redact import redact
from forensics.run import Run

_PLACES = ("manifest", "output", "calibration", "tracking")  # settings: where things go or lie

_README = """\
Evidence bundle of one image

  image     {image_id}
  file      {uri}
  SHA-256   {sha256}
  run       {digest}

MANIFEST.json      size and SHA-256 of everything else in here
report.json        what was found in the image: its row of the report
run.json           the whole run: settings, versions, digests of weights and camera models
maps.json, maps/   the maps as they were stored, with detector, kind and stride (pixels per cell)
repeat/            a manifest of this one image, and the settings to scan it again
{further}
To check that nothing in here changed, without installing anything but Python:

    python -m forensics verify BUNDLE --original FILE

Anybody can make such a bundle: compare its digest with the one that was printed and logged when
this one was made.

To repeat the examination, with the version of the code that run.json names and with the weights
and camera models whose digests are there, from the folder this was unpacked to:

    python -m jobs.scan --config repeat/scan.yaml

The new report must equal report.json but for `row` and the times (bit for bit on a CPU). Paths in
repeat/scan.yaml, and the image's, are as they were then: others go on the command line
(--camera_models FOLDER), the image's into the manifest.
"""
_CALIBRATION = "calibration.json   thresholds, and the pristine scores they come from\n"
_ORIGINAL = "original/file      the file itself, bit for bit\n"


@dataclass(frozen=True)
class Bundle:
    """A bundle, ready to be written."""

    data: bytes
    sha256: str  # of the whole file
    manifest: str  # its MANIFEST.json
    members: int


def make_bundle(run: Run, image_id: str, original: bool = False) -> Bundle:
    """The bundle of an image; the same run gives the same bytes.

    Args:
        run: that answered it.
        image_id: of the image, as in the manifest.
        original: whether the file itself goes into it, beside its hash.

    Raises:
        UserError: no such image, not answered yet, its maps are damaged, the file is another one
            by now, or it is all too large.
        StorageError: the file or the run's outputs cannot be read.
    """
    position, row = _find(run, image_id)
    shard = position // run.shard_rows
    if shard not in run.committed():
        raise UserError(f"{image_id!r} is not answered yet: finish the scan of {run.uri} first")
    record = _record(run, shard, image_id)
    document = redact(storage.read(storage.join(run.uri, "run.json")).decode()).encode()
    listed, maps = _maps(run, shard, image_id)
    members = {
        "report.json": _json(record),
        "run.json": document,
        "maps.json": _json(listed),
        **maps,
        "repeat/manifest.parquet": _one_row(row),
        "repeat/scan.yaml": _settings(json.loads(document)["settings"], run.calibrated),
    }
    if run.calibrated:
        members["calibration.json"] = storage.read(run.calibration_uri)
    if original:
        members["original/file"] = _original(row.uri, record["sha256"], image_id)
    members["README.txt"] = _readme(run, record, original)
    about = {
        "image_id": image_id,
        "run": run.digest,
        "original": {name: record[name] for name in ("uri", "sha256", "size")},
    }
    try:
        data = container.write(members, about)
    except ValueError as error:
        raise UserError(f"{image_id!r} makes no bundle: {error}") from None
    manifest = container.manifest(members, about)
    return Bundle(data, hashlib.sha256(data).hexdigest(), manifest, len(members) + 1)


def _find(run: Run, image_id: str) -> tuple[int, ManifestRow]:
    """Position and row of the image in the run's manifest, which is read in pieces."""
    start = 0
    with storage.open(run.manifest_uri) as opened:
        for batch in pq.ParquetFile(opened).iter_batches(columns=["image_id"]):
            found = pc.index(batch.column("image_id"), pa.scalar(image_id)).as_py()
            if found >= 0:
                shard, within = divmod(start + found, run.shard_rows)
                row = ShardReader(run.manifest_uri, run.shard_rows).read(shard)[within]
                return start + found, row
            start += batch.num_rows
    raise UserError(f"{run.uri} has no image {image_id!r}; ids are in its manifest.parquet")


def _record(run: Run, shard: int, image_id: str) -> dict[str, Any]:
    table = run.report(shard)
    rows = table.filter(pc.equal(table["image_id"], pa.scalar(image_id))).to_pylist()
    if len(rows) != 1:
        raise UserError(
            f"{run.report_uri(shard)} has {len(rows)} rows for image {image_id!r}, not 1. Delete "
            "it and run the scan again."
        )
    record: dict[str, Any] = rows[0]
    return record


def _maps(run: Run, shard: int, image_id: str) -> tuple[list[dict[str, Any]], dict[str, bytes]]:
    """The maps' table as the run has it, with their names here, and their bytes."""
    table = run.maps(shard)
    rows = table.filter(pc.equal(table["image_id"], pa.scalar(image_id))).to_pylist()
    listed, files = [], {}
    for number, item in enumerate(rows):
        png = item.pop("png")
        if hashlib.sha256(png).hexdigest() != item["sha256"]:
            raise UserError(
                f"{run.maps_uri(shard)}: a map of {image_id!r} is damaged (SHA-256 differs). "
                f"Delete it and {run.report_uri(shard)} and run the scan again."
            )
        name = f"maps/{number:02d}-{item['detector']}-{item['kind']}.png"
        files[name] = png
        listed.append({"file": name, **item})
    return listed, files


def _original(uri: str, sha256: str | None, image_id: str) -> bytes:
    data = storage.read(uri, container.MOST_BYTES)
    if hashlib.sha256(data).hexdigest() != sha256:
        raise UserError(
            f"{image_id!r}: {uri} is not the file that was examined (SHA-256 differs); make the "
            "bundle without it (leave the setting original out)"
        )
    return data


def _one_row(row: ManifestRow) -> bytes:
    """A manifest of this image alone, as `jobs.scan` reads it."""
    values = {name: [getattr(row, name)] for name in MANIFEST_SCHEMA.names}
    buffer = io.BytesIO()
    pq.write_table(pa.table(values, schema=MANIFEST_SCHEMA), buffer)
    return buffer.getvalue()


def _settings(settings: Mapping[str, Any], calibrated: bool) -> bytes:
    """The run's settings for a scan of the manifest in the bundle."""
    known = {name: value for name, value in settings.items() if name not in _PLACES}
    known |= {"limit": None, "retry": []}
    places = {"manifest": "repeat/manifest.parquet", "output": "repeat/scan"}
    if calibrated:
        places["calibration"] = "calibration.json"
    return yaml.safe_dump({**places, **known}, allow_unicode=True, sort_keys=False).encode()


def _readme(run: Run, record: Mapping[str, Any], original: bool) -> bytes:
    shown = {name: json.dumps(record[name], ensure_ascii=True) for name in ("image_id", "uri")}
    return _README.format(
        **shown,
        sha256=record["sha256"] or "none: the file could not be read",
        digest=run.digest,
        further=(_CALIBRATION if run.calibrated else "") + (_ORIGINAL if original else ""),
    ).encode()


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=1, ensure_ascii=True).encode()
