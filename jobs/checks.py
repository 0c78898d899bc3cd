"""What is looked at before a scan: each check says what it found, and what to do if that is bad."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from forensics import storage
from forensics.decode import probe
from forensics.detectors import Detector
from forensics.limits import GIB, Limits
from forensics.prnu.library import CameraLibrary
from forensics.records import ManifestRow, Unreadable
from forensics.redact import redact
from forensics.run import load_document, load_run
from forensics.text import visible_lines
from jobs.tracking import check_store


class State(StrEnum):
    """How a check went."""

    OK = "ok"
    WARNING = "warning"  # the scan would run, though not as wished
    BAD = "BAD"  # the scan would end, or answer nothing


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    state: State
    message: str

    def __str__(self) -> str:
        # lines of the message are set in: none of them is taken for a check
        message = visible_lines(self.message).replace("\n", "\n" + 20 * " ")
        return redact(f"{self.state:9}{self.name:11}{message}")


Found = tuple[State, str]
"""How it went, and what to say of it."""


def output(uri: str) -> Found:
    """The folder takes files and gives them back; what lies in it already."""
    place, content = storage.join(uri, f".doctor-{secrets.token_hex(4)}"), secrets.token_bytes(64)
    storage.write(place, content)
    try:
        if storage.read(place) != content:
            return State.BAD, f"{uri} gives back something else than was written"
    finally:
        storage.delete(place)
    if not storage.exists(storage.join(uri, "run.json")):
        return State.OK, f"{uri} can be written; no run is in it"
    run, document = load_run(uri), load_document(uri)
    done = len(run.committed())
    return (
        State.OK,
        f"{uri} can be written; holds a run ({document['state']}, {done} of {run.shards} shards "
        "done) that the scan continues if settings, code and models are the same",
    )


def cameras(uri: str) -> Found:
    """Every camera model is there and what its card says."""
    library = CameraLibrary(uri)
    for entry in library:
        library.model(entry.camera_id)
    return State.OK, f"{len(library)} cameras, all files as their cards say"


def tracking(store: str) -> Found:
    """MLflow answers."""
    check_store(store)
    return State.OK, f"MLflow at {redact(store)} answers"


def device(wanted: str, cluster_gpus: float, names: Sequence[str]) -> Found:
    """Whether there is a GPU where one is wanted."""
    if cluster_gpus:
        return State.OK, f"{cluster_gpus:g} GPUs"
    if wanted == "cuda":
        return State.BAD, "the setting device is cuda, and Ray has no GPU: set device to auto"
    if heavy := [name for name in names if name in ("trufor", "origin")]:
        return State.WARNING, f"no GPU: {', '.join(heavy)} will take long on CPUs (see the bill)"
    return State.OK, "no GPU, and none is needed"


def largest(rows: Iterable[ManifestRow], detectors: Sequence[Detector], limits: Limits) -> Found:
    """Whether the largest image fits the limits of a worker."""
    sizes = [size for row in rows if (size := _size(row)) is not None]
    if not sizes:
        return State.WARNING, "no image could be measured"
    height, width = max(sizes, key=lambda size: size[0] * size[1])
    needs = {d.name: d.bytes_needed(height, width) / GIB for d in detectors}
    name = max(needs, key=lambda n: needs[n])
    text = f"{width}x{height} is the largest found; {name} needs {needs[name]:.1f} GiB for it"
    if height * width > limits.max_megapixels * 1e6:
        return State.WARNING, f"{text}; it is above limits.max_megapixels and will be `unreadable`"
    if needs[name] > limits.memory_gib:
        return (
            State.WARNING,
            f"{text}, more than limits.memory_gib ({limits.memory_gib:g}): such images will be "
            "`failed`. Raise the limit, with fewer workers if memory is short.",
        )
    return State.OK, text


def memory(worker_bytes: float, workers: int, have_bytes: float) -> Found:
    """Whether the workers together fit the memory that Ray knows of."""
    need = worker_bytes * workers / GIB
    text = f"{workers} workers hold up to {need:.1f} GiB; the cluster has {have_bytes / GIB:.1f}"
    if need > have_bytes / GIB:
        return State.WARNING, f"{text}: set pool.workers lower, or workers will be killed"
    return State.OK, text


def _size(row: ManifestRow) -> tuple[int, int] | None:
    """Height and width by the file's header; None for what is no image."""
    try:
        header = probe(storage.read(row.uri))
    except (Unreadable, storage.StorageError):
        return None
    return header.height, header.width
