"""Ray: connect or start it, and size the actor pool so that nothing can hang."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

from pydantic import Field

from forensics.config import Settings
from forensics.records import UserError

# Read when Ray is imported: no usage reports, and no chatter between the job's own lines.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")

import ray
import ray.data

logging.getLogger("ray").setLevel(logging.ERROR)

FREE_CPUS = 1
"""CPUs the pool must leave to Ray's own tasks; without one a pipeline waits for ever."""


class PoolSettings(Settings):
    """How many workers, and what each of them holds."""

    workers: int | None = Field(
        None, ge=1, description="worker processes [one per GPU or CPU core]"
    )
    cpus_per_worker: float = Field(1.0, gt=0, description="CPUs that Ray sets aside for a worker")
    gpus_per_worker: float | None = Field(
        None, ge=0, description="GPUs (or a part of one) per worker [1 where there are GPUs]"
    )
    prefetch: int = Field(2, ge=0, description="images fetched ahead per worker")


class Pool(Settings):
    """A pool that fits the cluster."""

    workers: int
    cpus_per_worker: float
    gpus_per_worker: float


@contextmanager
def connected(wanted: PoolSettings) -> Iterator[Pool]:
    """Connect to the cluster in ``RAY_ADDRESS``, or start Ray on this machine; yield the pool.

    A Ray started here is ended here. Raises `UserError` when the pool does not fit the cluster.
    """
    if ray.is_initialized():
        yield size_pool(wanted)
        return
    if os.environ.get("RAY_ADDRESS"):
        ray.init(log_to_driver=False, logging_level=logging.ERROR)
    else:
        cores = os.cpu_count() or 1
        cpus = max(cores, int((wanted.workers or cores) * wanted.cpus_per_worker + 0.999))
        ray.init(
            address="local",
            num_cpus=cpus + FREE_CPUS,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    try:
        yield size_pool(wanted)
    finally:
        ray.shutdown()


def size_pool(wanted: PoolSettings) -> Pool:
    """Fill in what was left open, and check the CPU and GPU budget of the running cluster."""
    have = ray.cluster_resources()
    cpus, gpus = have.get("CPU", 0.0), have.get("GPU", 0.0)
    per_gpu = wanted.gpus_per_worker if wanted.gpus_per_worker is not None else float(gpus > 0)
    if wanted.workers is not None:
        workers = wanted.workers
    elif per_gpu:
        workers = int(gpus / per_gpu)
    else:
        workers = int((cpus - FREE_CPUS) / wanted.cpus_per_worker)
    pool = Pool(
        workers=max(1, workers), cpus_per_worker=wanted.cpus_per_worker, gpus_per_worker=per_gpu
    )
    check_budget(pool, cpus, gpus)
    return pool


def check_budget(pool: Pool, cpus: float, gpus: float) -> None:
    """Refuse a pool that would wait for ever. Raises `UserError`."""
    need_cpus = pool.workers * pool.cpus_per_worker + FREE_CPUS
    need_gpus = pool.workers * pool.gpus_per_worker
    if need_cpus > cpus or need_gpus > gpus:
        raise UserError(
            f"{pool.workers} workers need {need_cpus:g} CPUs (one of them free for Ray) and "
            f"{need_gpus:g} GPUs; the cluster has {cpus:g} CPUs and {gpus:g} GPUs. The job would "
            "hang: set pool.workers or pool.cpus_per_worker lower."
        )


def quiet_data() -> None:
    """Ray Data without its own progress and log lines; the jobs print their own."""
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.enable_operator_progress_bars = False
    context.print_on_execution_start = False
