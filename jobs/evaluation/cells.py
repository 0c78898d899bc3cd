"""Cells of a study on Ray: one task each, one per worker at a time, and none made twice."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import ray

from forensics.config import Settings, digest
from forensics.records import ManifestRow, Status
from jobs.cluster import Pool
from jobs.progress import Progress
from jobs.training.journal import Journal

_RETRIES = 1  # of a cell whose worker died

References = list[Any]
"""Of what a cell learns from or is tested on, in the object store."""


class Cell(Protocol):
    """What a method, trained once, is judged on."""

    @property
    def name(self) -> str:
        """No two of a study are alike."""

    def __hash__(self) -> int: ...


AnyCell = TypeVar("AnyCell", bound=Cell)


@dataclass(frozen=True)
class Work(Generic[AnyCell]):
    """How the cells of a study are made; results are ready for JSON.

    Args:
        data: references of what a cell is trained and tested on.
        evaluate: the result of a cell from both, and torch's device; runs on a worker.
        abstain: the result of a cell that could not be made, from the references that it would
            have been tested on.
        status: of a result; cells that failed are tried again by the same command.
    """

    data: Callable[[AnyCell], tuple[References, References]]
    evaluate: Callable[[AnyCell, Sequence[Any], Sequence[Any], str], dict[str, Any]]
    abstain: Callable[[AnyCell, References, Exception], dict[str, Any]]
    status: Callable[[dict[str, Any]], str]


def digest_of(
    study: Settings, rows: Sequence[ManifestRow], files: Mapping[str, bytes] | None = None
) -> str:
    """Of all that a cell follows from; ``files``: contents of those that settings name by URI."""
    files = files or {}
    images = [[r.image_id, r.uri, r.sha256, r.camera_id, r.source, r.label] for r in rows]
    found = {"study": study.model_dump(mode="json", exclude=set(files)), "images": images}
    for name, content in files.items():
        found[name] = hashlib.sha256(content).hexdigest()
    return digest(found)


def results(
    cells: Sequence[AnyCell], work: Work[AnyCell], journal: Journal, pool: Pool
) -> list[dict[str, Any]]:
    """Those of all cells, in their order: from the journal, or made now."""
    known = {cell: found for cell in cells if (found := journal.result(cell.name)) is not None}
    with Progress(len(cells), done=len(known), unit="cells") as progress:
        for cell, result in _made([c for c in cells if c not in known], work, pool):
            known[cell] = result
            status = work.status(result)
            if status != Status.FAILED:
                journal.end(cell.name, result)
            progress.add(1, {status: 1})
    return [known[cell] for cell in cells]


def _made(
    cells: Sequence[AnyCell], work: Work[AnyCell], pool: Pool
) -> Iterator[tuple[AnyCell, dict[str, Any]]]:
    """Results as they come."""
    task = ray.remote(
        num_cpus=pool.cpus_per_worker, num_gpus=pool.gpus_per_worker, max_retries=_RETRIES
    )(_result)
    device = "cuda" if pool.gpus_per_worker else "cpu"
    waiting, running = deque(cells), dict[Any, tuple[AnyCell, References]]()
    while waiting or running:
        while waiting and len(running) < pool.workers:
            cell = waiting.popleft()
            training, testing = work.data(cell)
            reference = task.remote(work.evaluate, work.abstain, cell, training, testing, device)
            running[reference] = cell, testing
        [done], _ = ray.wait(list(running), num_returns=1)
        cell, testing = running.pop(done)
        try:
            yield cell, ray.get(done)
        except ray.exceptions.RayError as error:  # its worker died, again and again
            yield cell, work.abstain(cell, testing, error)


def _result(
    evaluate: Callable[[AnyCell, Sequence[Any], Sequence[Any], str], dict[str, Any]],
    abstain: Callable[[AnyCell, References, Exception], dict[str, Any]],
    cell: AnyCell,
    training: References,
    testing: References,
    device: str,
) -> dict[str, Any]:
    try:
        return evaluate(cell, ray.get(training), ray.get(testing), device)
    except Exception as error:
        return abstain(cell, testing, error)
