"""The actor pool of a scan: shards in, committed outputs and small ledger rows out.

Ray Data deals the shards to actors; an actor reads its rows from the run's manifest, answers them
through a supervised child process and commits the shard itself, under a name that follows from the
shard. Its ledger row leaves at once. When an actor dies, Ray gives it all the shards of its block
again; those that it has committed are not examined a second time, so its death loses one shard's
work. Shards that were lost are dealt again in the next pass.
"""

from __future__ import annotations

import time
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import ray.data

from forensics import storage
from forensics.limits import Limits
from forensics.manifest import ShardReader
from forensics.records import explain
from forensics.run import Run
from forensics.schema import STATUSES
from forensics.storage import StorageError
from forensics.supervisor import SupervisedScanner
from jobs.cluster import Pool, quiet_data
from jobs.meters import ActorMeter

if TYPE_CHECKING:
    from forensics.calibration.record import Calibration
    from forensics.scan import ScanSettings

PASSES = 5
"""How often lost shards are dealt again before the job gives up and says so."""

BLOCKS = 50
"""Parts in which a worker is given its shards; at the end, workers wait for the last of them."""

_TASK_RETRIES = 2
_UNITS = pa.schema([("shard", pa.int64()), ("rows", pa.list_(pa.int64()))])
_LEDGER = pa.schema(
    [
        ("shard", pa.int64()),
        ("rows", pa.int64()),
        *[(status, pa.int64()) for status in STATUSES],
        ("flagged", pa.int64()),  # by the calibration, else rows decided to be tampered with
        ("seconds", pa.float64()),  # spent on images
        ("image_bytes", pa.int64()),
        ("output_bytes", pa.int64()),
        ("error", pa.string()),  # why nothing was committed; not the fault of an image
    ]
)

Rows = Sequence[Mapping[str, Any]]

Units = dict[int, Sequence[int]]
"""What is to be done: shard → the rows to be redone, by their positions, or none for all rows."""


class ShardActor:
    """One worker of the pool; its child process holds the loaded detectors."""

    def __init__(
        self,
        run: Run,
        settings: str,
        limits: Limits,
        prefetch: int,
        calibration: Calibration | None = None,
    ) -> None:
        self._run = run
        self._calibration = calibration
        self._reader = ShardReader(run.manifest_uri, run.shard_rows)
        self._scanner = SupervisedScanner(settings, limits, prefetch)
        self._meter = ActorMeter(run)

    def __call__(self, batch: pa.Table) -> pa.Table:
        ledger = [self._ledger(unit["shard"], set(unit["rows"])) for unit in batch.to_pylist()]
        return pa.Table.from_pylist(ledger, schema=_LEDGER)

    def _ledger(self, shard: int, only: set[int]) -> dict[str, Any]:
        try:
            if not only and storage.exists(self._run.report_uri(shard)):
                return self._row(shard, self._run.report(shard).to_pylist())
            return self._work(shard, only)
        except StorageError as error:
            return {"shard": shard, "rows": 0, "error": str(error)}
        except Exception as error:  # the pool goes on; the driver decides
            self._scanner.close()
            return {"shard": shard, "rows": 0, "error": explain(error)}

    def _work(self, shard: int, only: set[int]) -> dict[str, Any]:
        positions = self._run.rows_of(shard)
        rows = zip(positions, self._reader.read(shard), strict=True)
        wanted = [(index, row) for index, row in rows if not only or index in only]
        answers = []
        for answer in self._scanner.answers(wanted):
            self._meter.answered(answer, self._scanner.ahead, self._scanner.deaths)
            answers.append(answer)
        records: Rows = [self._marked(answer.record) for answer in answers]
        maps: Rows = [item for answer in answers for item in answer.maps]
        done = self._row(shard, records)
        if only:
            records, maps = _merge(self._run, shard, records, maps)
        start = time.perf_counter()
        output_bytes = self._run.commit(shard, records, maps, again=bool(only))
        self._meter.wrote(time.perf_counter() - start)
        return {**done, "output_bytes": output_bytes}

    def _row(self, shard: int, records: Rows) -> dict[str, Any]:
        return ledger_row(shard, records, "flagged" if self._calibration else "decision")

    def _marked(self, record: Mapping[str, Any]) -> Mapping[str, Any]:
        return record if self._calibration is None else self._calibration.marked(record)


def scan_shards(
    run: Run,
    settings: ScanSettings,
    pool: Pool,
    prefetch: int,
    units: Units,
    calibration: Calibration | None = None,
) -> Iterator[dict[str, Any]]:
    """Answer the units on the pool; yields one ledger row per unit, as soon as it is committed.

    Raises `StorageError` when outputs cannot be written. Units whose worker kept dying are missing
    from the ledger; the audit names their rows.
    """
    todo = dict(units)
    for _ in range(PASSES):
        if not todo:
            return
        for ledger in _one_pass(run, settings, pool, prefetch, todo, calibration):
            if ledger["error"] is not None:
                raise StorageError(f"shard {ledger['shard']} was not written: {ledger['error']}")
            if todo.pop(ledger["shard"], None) is not None:
                yield ledger


def ledger_row(
    shard: int, records: Sequence[Mapping[str, Any]], flag: str = "decision"
) -> dict[str, Any]:
    """Counts of a shard's report records; ``flag`` is the column that flags an image."""
    statuses = Counter(record["status"] for record in records)
    return {
        "shard": shard,
        "rows": len(records),
        **{status: statuses[status] for status in STATUSES},
        "flagged": sum(_flagged(record, flag) for record in records),
        "seconds": sum(record["seconds"] for record in records),
        "image_bytes": sum(record["size"] or 0 for record in records),
        "output_bytes": 0,
        "error": None,
    }


def _flagged(record: Mapping[str, Any], flag: str) -> bool:
    return any(isinstance(v, dict) and v.get(flag) is True for v in record.values())


def _one_pass(
    run: Run,
    settings: ScanSettings,
    pool: Pool,
    prefetch: int,
    units: Units,
    calibration: Calibration | None,
) -> Iterator[dict[str, Any]]:
    quiet_data()
    context = ray.data.DataContext.get_current()
    context.max_errored_blocks = -1  # a dead actor costs its shards this pass, not the job
    context.target_max_block_size = 1  # bytes: else ledger rows wait for the end of their block
    workers = min(pool.workers, len(units))
    source = ray.data.from_arrow(_blocks(units, BLOCKS * workers))
    with warnings.catch_warnings():
        # max_restarts and max_task_retries have no other way in before Ray 2.64; Ray is pinned.
        warnings.filterwarnings("ignore", "`ray_remote_args` is deprecated")
        dataset = source.map_batches(
            ShardActor,
            fn_constructor_args=(
                run,
                settings.model_dump_json(),
                settings.limits,
                prefetch,
                calibration,
            ),
            batch_size=1,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(size=workers, max_tasks_in_flight_per_actor=2),
            num_cpus=pool.cpus_per_worker,
            num_gpus=pool.gpus_per_worker or None,
            max_restarts=-1,
            max_task_retries=_TASK_RETRIES,
        )
    for batch in dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        yield from batch.to_pylist()


def _blocks(units: Units, most: int) -> list[pa.Table]:
    """The units in order, in ``most`` parts of nearly the same size, none of them empty."""
    shards = list(units)
    count = min(len(shards), most)
    cuts = [len(shards) * part // count for part in range(count + 1)]
    parts = [shards[start:stop] for start, stop in pairwise(cuts)]
    return [pa.table([part, [units[shard] for shard in part]], schema=_UNITS) for part in parts]


def _merge(run: Run, shard: int, records: Rows, maps: Rows) -> tuple[Rows, Rows]:
    """The committed shard with these records in place of the earlier ones for the same rows."""
    redone = {record["row"]: record for record in records}
    merged = [redone.get(old["row"], old) for old in run.report(shard).to_pylist()]
    ids = {record["image_id"] for record in records}
    kept = [old for old in run.maps(shard).to_pylist() if old["image_id"] not in ids]
    order = {record["image_id"]: place for place, record in enumerate(merged)}
    return merged, sorted([*kept, *maps], key=lambda item: order[item["image_id"]])
