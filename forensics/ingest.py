"""Makes a manifest from what lies under a prefix: one row per image file, in a stream."""

from __future__ import annotations

import re
import tempfile
import unicodedata
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pyarrow as pa

from forensics import storage
from forensics.decode import probe
from forensics.manifest import MANIFEST_SCHEMA, GroupedWriter
from forensics.records import Unreadable, UserError

IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    *(".png", ".apng", ".tif", ".tiff", ".webp", ".avif", ".bmp", ".dib", ".gif"),
    *(".heic", ".heif", ".jp2", ".jxl"),
)
"""File name endings of images, in lower case. The last four are of formats that cannot be decoded
here: their rows will say so, where a photograph left out would go unnoticed."""

CameraFrom = Literal["exif", "folder", "none"]

_HEADER_BYTES = 256 << 10  # where EXIF lies in anything but files that keep it at the end
_WHOLE_BYTES = 16 << 20  # of TIFF, WebP and AVIF, which keep EXIF anywhere
_ROWS_PER_GROUP = 4096
_MAX_ID = 100  # characters of a camera_id
_COMPANY_WORDS = frozenset(
    (
        *("ag", "camera", "cameras", "co", "company", "computer", "corp", "corporation"),
        *("electronics", "gmbh", "imaging", "inc", "kk", "limited", "ltd", "optical"),
    )
)


@dataclass
class IngestCounts:
    """What an ingest found. ``cameras`` grows with the cameras, nothing with the images."""

    images: int = 0
    image_bytes: int = 0
    others: int = 0  # objects that are no image by their name
    other_suffixes: Counter[str] = field(default_factory=Counter)
    cameras: Counter[str] = field(default_factory=Counter)  # images per proposed camera_id
    without_camera: int = 0
    without_serial: int = 0  # proposed camera_id names a model, not a device
    unreadable: int = 0  # no header that could be read; the rows are there all the same


@dataclass(frozen=True, slots=True)
class _Camera:
    """What one image says of its camera."""

    camera_id: str | None = None
    serial: bool = False
    unreadable: bool = False


def ingest(
    prefix_uri: str,
    manifest_uri: str,
    *,
    suffixes: Iterable[str] = IMAGE_SUFFIXES,
    camera_from: CameraFrom = "exif",
    threads: int = 16,
    progress: Callable[[IngestCounts], None] | None = None,
) -> IngestCounts:
    """List a prefix and write the manifest of the images under it, in one step at the end.

    Every object whose name ends in one of ``suffixes`` (in any case) becomes a row: ``image_id`` is
    its path relative to the prefix, ``uri`` is absolute, ``size`` is that of the listing. Memory
    does not grow with the number of images.

    Parameters
    ----------
    camera_from
        Where ``camera_id`` comes from: ``exif`` make, model and serial number (``threads`` files at
        a time; the first 256 KB of each, 16 MB of TIFF, WebP and AVIF); ``folder``, the name of the
        image's folder, as in collections of reference images; or ``none``.
    progress
        Called with the counts so far after every row.

    Raises
    ------
    UserError
        There is no image under the prefix.
    StorageError
        The store fails; no manifest is written.
    """
    endings = tuple(suffix.lower() for suffix in suffixes)
    counts = IngestCounts()
    images = _images(prefix_uri, endings, counts)
    describe = _DESCRIBE[camera_from]
    with (
        tempfile.TemporaryDirectory(prefix="ingest-") as folder,
        ThreadPoolExecutor(threads, "ingest") as pool,
    ):
        path = str(Path(folder) / "manifest.parquet")
        with GroupedWriter(path, _ROWS_PER_GROUP) as writer:
            rows: list[dict[str, object]] = []
            for entry, camera in _in_order(images, describe, pool, 4 * threads):
                _count(counts, entry, camera)
                rows.append(_row(entry, camera))
                if len(rows) == _ROWS_PER_GROUP:
                    writer.write(pa.RecordBatch.from_pylist(rows, MANIFEST_SCHEMA))
                    rows = []
                if progress is not None:
                    progress(counts)
            writer.write(pa.RecordBatch.from_pylist(rows, MANIFEST_SCHEMA))
        if not counts.images:
            raise UserError(
                f"{prefix_uri}: no image among {counts.others} objects; an image is what ends in "
                f"{' '.join(endings)}. Check the prefix, or set the suffixes."
            )
        storage.write_file(manifest_uri, path)
    return counts


def propose_camera_id(exif: Mapping[str, str]) -> str | None:
    """A camera's name from EXIF ``make``, ``model`` and ``serial``: ``nikon-d70-2003456``.

    None without a model. Without a serial number it names the model, not one device.
    """
    make = [word for word in _words(exif.get("make", "")) if word not in _COMPANY_WORDS]
    model = _words(exif.get("model", ""))
    if not model:
        return None
    if model[0] in make:  # "NIKON CORPORATION", "NIKON D70"
        make = []
    words = [*make, *model, *_words(exif.get("serial", ""))]
    return "-".join(words)[:_MAX_ID].rstrip("-")


def _words(text: str) -> list[str]:
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.findall(r"[a-z0-9]+", plain)


def _images(
    prefix_uri: str, endings: tuple[str, ...], counts: IngestCounts
) -> Iterator[storage.Entry]:
    for entry in storage.list(prefix_uri):
        if entry.name.lower().endswith(endings):
            yield entry
        else:
            counts.others += 1
            suffix = Path(entry.name).suffix.lower()
            if suffix in counts.other_suffixes or len(counts.other_suffixes) < 100:
                counts.other_suffixes[suffix] += 1


def _in_order(
    entries: Iterator[storage.Entry],
    work: Callable[[storage.Entry], _Camera],
    pool: ThreadPoolExecutor,
    ahead: int,
) -> Iterator[tuple[storage.Entry, _Camera]]:
    """``work`` of every entry, in their order, with at most ``ahead`` of them under way."""
    waiting: deque[tuple[storage.Entry, Future[_Camera]]] = deque()
    try:
        for entry in entries:
            waiting.append((entry, pool.submit(work, entry)))
            if len(waiting) >= ahead:
                first, future = waiting.popleft()
                yield first, future.result()
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()
    finally:
        for _, future in waiting:
            future.cancel()


def _from_folder(entry: storage.Entry) -> _Camera:
    folder = Path(entry.name).parent.name
    # letters, digits, ".", "_" and "-" are what names a folder of a camera model everywhere
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", folder).lstrip("._-")[:_MAX_ID]
    return _Camera(name or None, serial=True)


def _from_exif(entry: storage.Entry) -> _Camera:
    whole = entry.name.lower().endswith((".tif", ".tiff", ".webp", ".avif"))
    stop = _WHOLE_BYTES if whole else _HEADER_BYTES
    try:
        exif = probe(storage.read_range(entry.uri, 0, stop)).exif
    except (Unreadable, storage.NotFound, storage.AccessDenied):
        return _Camera(unreadable=True)
    return _Camera(propose_camera_id(exif), serial=bool(_words(exif.get("serial", ""))))


_DESCRIBE: Mapping[CameraFrom, Callable[[storage.Entry], _Camera]] = {
    "exif": _from_exif,
    "folder": _from_folder,
    "none": lambda _: _Camera(),
}


def _row(entry: storage.Entry, camera: _Camera) -> dict[str, object]:
    return {
        "image_id": entry.name,
        "uri": entry.uri,
        "camera_id": camera.camera_id,
        "size": entry.size,
    }


def _count(counts: IngestCounts, entry: storage.Entry, camera: _Camera) -> None:
    counts.images += 1
    counts.image_bytes += entry.size
    counts.unreadable += camera.unreadable
    if camera.camera_id is None:
        counts.without_camera += 1
    else:
        counts.cameras[camera.camera_id] += 1
        counts.without_serial += not camera.serial
