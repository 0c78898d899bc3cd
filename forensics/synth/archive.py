"""An archive of simulated photos and forgeries on disk, with exact truth.

Layout of the folder: ``reference/<camera>/flat_*.jpg`` (evenly lit, for fingerprints),
``training/<camera>/*.jpg`` (natural and pristine, for camera models), ``archive/*`` (what is to be
scanned), ``masks/*.png`` (0 pristine, 255 forged), and the manifests ``reference.parquet``,
``training.parquet`` and ``truth.parquet``, whose URIs are relative to the folder. The archive also
holds photos of a camera without reference images, and a few files that are no photos.
"""

from __future__ import annotations

import hashlib
import io
import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from forensics.records import FORGED, PRISTINE, ManifestRow, Rgb, UserError
from forensics.synth.forgeries import forge
from forensics.synth.plan import ARCHIVE_START, ArchiveSettings, Job, camera_of, forged_area, plan

__all__ = ["ArchiveSettings", "ArchiveSummary", "make_archive"]

_ODD_FILES = ("truncated.jpg", "text.jpg", "gray.png", "tiny.jpg")
_FORGERY = 12
_TABLES = {
    "reference": "reference.parquet",
    "training": "training.parquet",
    "test": "truth.parquet",
}
_SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("uri", pa.string()),
        ("camera_id", pa.string()),
        ("sha256", pa.string()),
        ("size", pa.int64()),
        ("split", pa.string()),
        ("label", pa.string()),
        ("mask_uri", pa.string()),
        ("source", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True)
class ArchiveSummary:
    """Where the archive is, and how much of what it holds."""

    folder: Path
    cameras: tuple[str, ...]  # ids of the cameras with reference images
    stranger: str  # id of the camera without
    reference: int  # images
    training: int
    pristine: int  # archive images, strangers included
    forged: int
    strangers: int
    odd: int  # archive files without label


def make_archive(folder: Path, settings: ArchiveSettings, workers: int = 1) -> ArchiveSummary:
    """Write the archive into ``folder``, which must be absent or empty.

    With ``workers`` above 1 that many processes render images (the caller's main module needs the
    usual ``if __name__ == "__main__"``); the bytes are the same. Raises UserError on a folder
    that holds something.
    """
    if folder.exists() and any(folder.iterdir()):
        raise UserError(f"{folder} is not empty; choose another folder or empty it")
    jobs = plan(settings)
    for name in {Path(job.uri).parent for job in jobs} | {Path("archive"), Path("masks")}:
        (folder / name).mkdir(parents=True, exist_ok=True)

    rows = list(_map(partial(_write_image, folder, settings), jobs, workers))
    rows += [_write_odd(folder, settings, name) for name in _ODD_FILES]
    splits = {split: [row for row in rows if row.split == split] for split in _TABLES}
    for split, table in _TABLES.items():
        records = [asdict(row) for row in splits[split]]
        pq.write_table(pa.Table.from_pylist(records, schema=_SCHEMA), folder / table)

    cameras = [camera_of(settings, index).camera_id for index in range(settings.cameras + 1)]
    truth = splits["test"]
    return ArchiveSummary(
        folder=folder,
        cameras=tuple(cameras[:-1]),
        stranger=cameras[-1],
        reference=len(splits["reference"]),
        training=len(splits["training"]),
        pristine=sum(row.label == PRISTINE for row in truth),
        forged=sum(row.label == FORGED for row in truth),
        strangers=sum(row.camera_id == cameras[-1] for row in truth),
        odd=sum(row.label is None for row in truth),
    )


def _map(
    write: Callable[[Job], ManifestRow], jobs: Iterable[Job], workers: int
) -> Iterator[ManifestRow]:
    if workers <= 1:
        yield from map(write, jobs)
        return
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=spawn) as pool:
        yield from pool.map(write, jobs, chunksize=4)


def _write_image(folder: Path, settings: ArchiveSettings, job: Job) -> ManifestRow:
    camera = camera_of(settings, job.camera)
    photo = camera.flat_field(job.number) if job.flat else camera.natural(job.number)
    data = camera.encode(photo, number=job.number)
    mask_uri = None
    if job.kind:
        # Forgers start from files: all photos have been compressed once before.
        donor = None
        if job.donor is not None:
            other = camera_of(settings, job.donor)
            donor = _decode(other.encode(other.natural(job.number)))
        seed = [settings.seed, _FORGERY, job.number]
        area = forged_area(settings, job)
        forgery = forge(job.kind, _decode(data), seed, donor=donor, area=area)
        data = camera.encode(forgery.pixels, number=job.number)
        mask_uri = f"masks/{Path(job.uri).stem}.png"
        Image.fromarray(forgery.mask.astype(np.uint8) * 255).save(folder / mask_uri)
    (folder / job.uri).write_bytes(data)
    return ManifestRow(
        image_id=job.image_id,
        uri=job.uri,
        camera_id=camera.camera_id,
        sha256=hashlib.sha256(data).hexdigest(),
        size=len(data),
        split=job.split,
        label=FORGED if job.kind else PRISTINE,
        mask_uri=mask_uri,
        source=job.kind,
    )


def _decode(data: bytes) -> Rgb:
    return np.asarray(Image.open(io.BytesIO(data)))


def _write_odd(folder: Path, settings: ArchiveSettings, name: str) -> ManifestRow:
    """A file that is no photo of a known camera: unlabelled, ``source`` says what is odd."""
    stem = name.partition(".")[0]
    camera = camera_of(settings, 0)
    photo = camera.natural(ARCHIVE_START - 1)
    if stem == "truncated":
        data = camera.encode(photo)
        data = data[: len(data) // 2]
    elif stem == "text":
        data = b"This is a text that somebody named like a photo.\n"
    elif stem == "gray":
        file = io.BytesIO()
        Image.fromarray(photo).convert("L").save(file, "PNG")
        data = file.getvalue()
    else:
        data = camera.encode(photo[:16, :16])
    uri = f"archive/odd_{name}"
    (folder / uri).write_bytes(data)
    return ManifestRow(
        image_id=f"odd_{name}",
        uri=uri,
        sha256=hashlib.sha256(data).hexdigest(),
        size=len(data),
        split="test",
        source=stem,
    )
