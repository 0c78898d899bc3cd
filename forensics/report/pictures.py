"""Pictures of a run's images, each drawn once from its original and kept beside the page.

A picture is two files in ``pictures/`` of the run: the sheet that a reviewer studies, and a
thumbnail. Their name is a digest of what they show, so that no name from outside becomes a path,
and what is there need not be drawn again: a job that was killed goes on where it was.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

from PIL import Image as PillowImage

from forensics import storage
from forensics.decode import decode
from forensics.records import Map, Rgb, Unreadable
from forensics.report.boxes import Boxes
from forensics.report.figure import figure
from forensics.report.mapcodec import decode_map
from forensics.report.overlay import encode_picture, fit, outline, shrink
from forensics.run import Run

FOLDER: Final = "pictures"
MIME: Final = "image/webp"
THUMBNAIL = 256
"""Longest side of a thumbnail, in pixels."""

_NAME = re.compile(r"([0-9a-f]{32})\.webp")
_BATCH = 8  # pictures between two looks at a shard's maps
_THREADS = 2  # images in memory at a time


@dataclass(frozen=True, slots=True)
class Picture:
    """Encoded files of type ``MIME``."""

    sheet: bytes
    thumbnail: bytes


def picture_name(record: Mapping[str, Any]) -> str:
    """Of a report row's picture, without folder and ending."""
    shown = json.dumps([record["image_id"], record["sha256"], _title(record)])
    return hashlib.sha256(shown.encode()).hexdigest()[:32]


def stored(run: Run) -> set[str]:
    """Names of the pictures that are there, by one listing."""
    entries = storage.list(storage.join(run.uri, FOLDER))
    return {found[1] for entry in entries if (found := _NAME.fullmatch(entry.name))}


def load_picture(run: Run, name: str) -> Picture | None:
    """The picture, or None where a file is gone or damaged."""
    try:
        sheet, thumbnail = (storage.read(uri) for uri in _uris(run, name))
        for data in (sheet, thumbnail):
            PillowImage.open(io.BytesIO(data), formats=["WEBP"]).load()
    except (storage.NotFound, OSError):
        return None
    return Picture(sheet, thumbnail)


def make_pictures(
    run: Run, records: Sequence[Mapping[str, Any]], done: Callable[[str], None]
) -> dict[str, str]:
    """Draw and store the pictures of report rows with their ``shard`` and ``score``.

    ``done`` is called after each with what became of it. Returns, by image id, why some have no
    picture. Memory is bounded: two images, and the maps of two shards.
    """
    by_shard: dict[int, list[Mapping[str, Any]]] = defaultdict(list)
    for record in records:
        by_shard[record["shard"]].append(record)
    batches = [
        rows[start : start + _BATCH]
        for _, rows in sorted(by_shard.items())
        for start in range(0, len(rows), _BATCH)
    ]
    failed: dict[str, str] = {}
    pool = ThreadPoolExecutor(_THREADS)
    try:
        for outcomes in pool.map(lambda batch: list(_make(run, batch)), batches):
            for image_id, why in outcomes:
                done("no original" if why else "made")
                if why:
                    failed[image_id] = why
    finally:
        pool.shutdown(cancel_futures=True)  # who stops the job does not wait for the others
    return failed


def _make(run: Run, batch: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str | None]]:
    """Image ids of one shard with None, or why there is no picture."""
    ids = {record["image_id"] for record in batch}
    maps: dict[str, list[Mapping[str, Any]]] = {name: [] for name in ids}
    for item in run.maps(batch[0]["shard"]).to_pylist():
        if item["image_id"] in ids and hashlib.sha256(item["png"]).hexdigest() == item["sha256"]:
            maps[item["image_id"]].append(item)
    for record in batch:
        drawn = _draw(run, record, maps[record["image_id"]])
        if isinstance(drawn, Picture):
            sheet, thumbnail = _uris(run, picture_name(record))
            storage.write(thumbnail, drawn.thumbnail)
            storage.write(sheet, drawn.sheet)  # last: its presence says that both are there
        yield record["image_id"], drawn if isinstance(drawn, str) else None


def _draw(
    run: Run, record: Mapping[str, Any], stored_maps: Sequence[Mapping[str, Any]]
) -> Picture | str:
    try:
        data = storage.read(record["uri"])
    except storage.StorageError:
        return "the original cannot be read any more"
    if record["sha256"] not in (None, hashlib.sha256(data).hexdigest()):
        return "the original is another file now"  # the maps are not of it
    try:
        pixels = decode(data).pixels
    except Unreadable:
        return "the original cannot be decoded any more"
    maps: dict[str, list[Map]] = {}
    for item in stored_maps:
        decoded = decode_map(item["png"], item["kind"], item["stride"])
        maps.setdefault(item["detector"], []).append(decoded)
    found = {name: Boxes.of(record.get(name)) for name in run.findings}
    boxes = {name: each for name, each in found.items() if each is not None}
    sheet = figure(pixels, maps, _title(record), boxes=boxes)
    return Picture(encode_picture(sheet, MIME), encode_picture(thumbnail(pixels, maps), MIME))


def thumbnail(rgb: Rgb, maps: Mapping[str, Sequence[Map]]) -> Rgb:
    """The image made small, with the outlines of what its detectors call tampered."""
    small = shrink(rgb, THUMBNAIL, THUMBNAIL)
    size = (small.shape[0], small.shape[1])
    for values in (each for found in maps.values() for each in found):
        if values.kind == "decision":
            small = outline(small, fit(values, rgb.shape[:2], size))
    return small


def _title(record: Mapping[str, Any]) -> str:
    score = "" if record["score"] is None else f"  score {record['score']:.2f}"
    return f"{record['image_id']}{score}"


def _uris(run: Run, name: str) -> tuple[str, str]:
    """Of the sheet and the thumbnail."""
    ends = (".webp", "-small.webp")
    sheet, small = (storage.join(run.uri, FOLDER, name + end) for end in ends)
    return sheet, small
