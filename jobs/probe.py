"""A scan of some images that keeps nothing but what they took, by the pool that would scan all."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pyarrow as pa
import ray

from forensics import schema
from forensics.forecast import Sample
from forensics.limits import Limits
from forensics.records import ManifestRow
from forensics.supervisor import Answer, SupervisedScanner
from jobs.cluster import Pool
from jobs.waiting import wait_for


@dataclass(frozen=True)
class _Probed:
    """What one worker found."""

    records: Sequence[Mapping[str, Any]]
    seconds: Sequence[float]
    load_seconds: float
    all_bytes: int  # of a shard's files with all these rows
    one_bytes: int  # with the first alone
    peak_bytes: int
    idle_bytes: int


def probe(
    rows: Sequence[ManifestRow],
    settings: str,
    limits: Limits,
    report: pa.Schema,
    pool: Pool,
    prefetch: int,
) -> Sample:
    """Examine the rows, dealt to all workers of the pool at once, as a scan does.

    A worker gets two rows at least, so that its time is known without that of its first one; of a
    single row, that time is all there is.

    Args:
        rows: at least one.
        settings: `forensics.scan.ScanSettings` as JSON.
        limits: those of the settings.
        report: schema of the report.
        pool: that would scan.
        prefetch: images fetched ahead per worker.
    """
    work = ray.remote(num_cpus=pool.cpus_per_worker, num_gpus=pool.gpus_per_worker)(_work)
    workers = min(pool.workers, max(1, len(rows) // 2))
    parts = [rows[worker::workers] for worker in range(workers)]
    tasks = {work.remote(part, settings, limits, report, prefetch): len(part) for part in parts}
    wait_for(tasks, "images", tasks)
    found: list[_Probed] = ray.get(list(tasks))
    more = sum(len(one.records) - 1 for one in found)
    row_bytes = sum(one.all_bytes - one.one_bytes for one in found) / max(more, 1)
    one_bytes = sum(one.one_bytes for one in found) / len(found)
    return Sample(
        [record for one in found for record in one.records],
        [s for one in found for s in ((None, *one.seconds[1:]) if more else one.seconds)],
        max(one.load_seconds for one in found),
        row_bytes,
        max(one_bytes - row_bytes, 0.0),
        max(one.peak_bytes for one in found),
        max(one.idle_bytes for one in found),
    )


def _work(
    rows: Sequence[ManifestRow], settings: str, limits: Limits, report: pa.Schema, prefetch: int
) -> _Probed:
    with SupervisedScanner(settings, limits, prefetch) as scanner:
        start = time.perf_counter()
        scanner.start()
        idle_bytes = scanner.idle_bytes
        clock = [time.perf_counter()]
        answers = []
        for answer in scanner.answers(list(enumerate(rows))):
            answers.append(answer)
            clock.append(time.perf_counter())
        return _Probed(
            [answer.record for answer in answers],
            [after - before for before, after in pairwise(clock)],
            clock[0] - start,
            _written(answers, report),
            _written(answers[:1], report),
            scanner.peak_bytes,
            idle_bytes,
        )


def _written(answers: Sequence[Answer], report: pa.Schema) -> int:
    """Bytes of the files of a shard that holds these answers."""
    records = [answer.record for answer in answers]
    maps = [item for answer in answers for item in answer.maps]
    return len(schema.to_parquet(records, report)) + len(schema.to_parquet(maps, schema.MAPS))
