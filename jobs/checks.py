"""What is looked at before a scan: each check says what it found, and what to do if that is bad."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from forensics import lease, storage
from forensics.decode import probe
from forensics.detectors import Detector
from forensics.limits import GIB, Limits
from forensics.prnu.library import CameraLibrary
from forensics.records import ManifestRow, Unreadable
from forensics.redact import redact
from forensics.run import difference, load_document, load_run
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
    """The folder takes files and gives them back, and no other job writes to it."""
    place, content = storage.join(uri, f".doctor-{secrets.token_hex(4)}"), secrets.token_bytes(64)
    storage.write(place, content)
    try:
        if storage.read(place) != content:
            return State.BAD, f"{uri} gives back something else than was written"
    finally:
        storage.delete(place)
    if why := lease.refused(uri):
        return State.BAD, why
    return State.OK, f"{uri} can be written, and no other job is at work there"


def run(uri: str, inputs: Mapping[str, Any]) -> Found:
    """Whether a run that lies there is the one of these inputs."""
    if not storage.exists(storage.join(uri, "run.json")):
        return State.OK, f"none in {uri} yet"
    if other := difference(uri, inputs):
        return State.BAD, other
    found, document = load_run(uri), load_document(uri)
    done = len(found.committed())
    return (
        State.OK,
        f"{uri} holds this run ({document['state']}, {done} of {found.shards} shards done); the "
        "scan continues it",
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


def largest(
    rows: Iterable[ManifestRow], detectors: Sequence[Detector], limits: Limits, complete: bool
) -> tuple[float, Found]:
    """Bytes that an image may need at most, and whether the largest fits the limits of a worker.

    ``complete`` says whether the manifest names the size of every file, so that the largest are
    among the rows.
    """
    sizes = [size for row in rows if (size := _size(row)) is not None]
    if not sizes:
        return 0.0, (State.WARNING, "no image could be measured")
    height, width = max(sizes, key=lambda size: size[0] * size[1])
    needs = {d.name: d.bytes_needed(height, width) / GIB for d in detectors}
    name = max(needs, key=lambda n: needs[n])
    needed = min(needs[name], limits.memory_gib) * GIB
    text = f"{width}x{height} is the largest found; {name} needs {needs[name]:.1f} GiB for it"
    if height * width > limits.max_megapixels * 1e6:
        text += "; it is above limits.max_megapixels and will be `unreadable`"
    elif needs[name] > limits.memory_gib:
        text += (
            f", more than limits.memory_gib ({limits.memory_gib:g}): such images will be `failed`. "
            "Raise the limit, with fewer workers if memory is short"
        )
    elif complete:
        return needed, (State.OK, text)
    if not complete:
        text += (
            "; the manifest does not say the size of every file, so there may be larger images "
            "(jobs.ingest writes sizes)"
        )
    return needed, (State.WARNING, text)


@dataclass(frozen=True)
class Node:
    """A machine of the cluster."""

    memory_bytes: float
    workers: int  # that it has CPUs and GPUs for


def memory(worker_bytes: float, workers: int, nodes: Sequence[Node]) -> Found:
    """Whether the workers that one node may get fit its memory."""
    used = [(node, min(node.workers, workers) * worker_bytes) for node in nodes if node.workers]
    node, need = min(used, key=lambda pair: pair[0].memory_bytes - pair[1])
    text = (
        f"a worker holds up to {worker_bytes / GIB:.1f} GiB, the {min(node.workers, workers)} of a "
        f"node {need / GIB:.1f}; it has {node.memory_bytes / GIB:.1f}"
    )
    if need > node.memory_bytes:
        return State.WARNING, f"{text}: set pool.workers lower, or workers will be killed"
    return State.OK, text


def _size(row: ManifestRow) -> tuple[int, int] | None:
    """Height and width by the file's header; None for what is no image."""
    try:
        header = probe(storage.read(row.uri))
    except (Unreadable, storage.StorageError):
        return None
    return header.height, header.width
