"""Ray: connect or start it, and size the actor pool so that nothing can hang."""

from __future__ import annotations

import logging
import math
import os
import time
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
from ray.autoscaler.sdk import request_resources

logging.getLogger("ray").setLevel(logging.ERROR)

FREE_CPUS = 1
"""CPUs the pool must leave to Ray's own tasks; without one a pipeline waits for ever."""

POLL_SECONDS = 2.0
TELL_SECONDS = 60.0  # between two lines while nothing changes

_NODE_GROUP = "ray.io/node-group"
"""On the nodes of `ray up` and KubeRay, which can start more; a Ray started by hand has it not."""


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
    wait_seconds: float = Field(
        900.0, ge=0, description="how long a cluster that scales has to start nodes for the pool"
    )


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
    """Fill in what was left open, and check the CPU and GPU budget of the running cluster.

    A cluster that scales gets time to start nodes that are missing.
    """
    cpus, gpus = _resources()
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
    if not _fits(pool, cpus, gpus) and _scales():
        _await_nodes(pool, wanted.wait_seconds)
        cpus, gpus = _resources()
    check_budget(pool, cpus, gpus)
    return pool


def check_budget(pool: Pool, cpus: float, gpus: float) -> None:
    """Refuse a pool that would wait for ever. Raises `UserError`."""
    if not _fits(pool, cpus, gpus):
        need_cpus, need_gpus = _needs(pool)
        raise UserError(
            f"{pool.workers} workers need {need_cpus:g} CPUs (one of them free for Ray) and "
            f"{need_gpus:g} GPUs; the cluster has {cpus:g} CPUs and {gpus:g} GPUs. The job would "
            "hang: set pool.workers or pool.cpus_per_worker lower."
        )


def _needs(pool: Pool) -> tuple[float, float]:
    """CPUs and GPUs."""
    return pool.workers * pool.cpus_per_worker + FREE_CPUS, pool.workers * pool.gpus_per_worker


def _fits(pool: Pool, cpus: float, gpus: float) -> bool:
    need_cpus, need_gpus = _needs(pool)
    return need_cpus <= cpus and need_gpus <= gpus


def _resources() -> tuple[float, float]:
    """CPUs and GPUs of the nodes that are up."""
    have = ray.cluster_resources()
    return have.get("CPU", 0.0), have.get("GPU", 0.0)


def _scales() -> bool:
    """Whether something starts nodes for this cluster."""
    return any(_NODE_GROUP in node["Labels"] for node in ray.nodes() if node["Alive"])


def _await_nodes(pool: Pool, seconds: float) -> None:
    """Have nodes started for the pool, and return when they are up or the time is over."""
    worker = {"CPU": pool.cpus_per_worker, "GPU": pool.gpus_per_worker}
    bundles = [{name: n for name, n in worker.items() if n}] * pool.workers
    request_resources(bundles=[*bundles, {"CPU": FREE_CPUS}])
    need_cpus, need_gpus = _needs(pool)
    end, tell, seen = time.monotonic() + seconds, -math.inf, (-1.0, -1.0)
    try:
        while not _fits(pool, *(have := _resources())) and (now := time.monotonic()) < end:
            if have != seen or now >= tell:
                print(
                    f"waiting for nodes: {have[0]:g} of {need_cpus:g} CPUs and {have[1]:g} of "
                    f"{need_gpus:g} GPUs are up; {end - now:.0f} s left (pool.wait_seconds)",
                    flush=True,
                )
                seen, tell = have, now + TELL_SECONDS
            time.sleep(min(POLL_SECONDS, end - now))
    finally:
        request_resources(bundles=[])  # else the nodes stay when the job has ended


def quiet_data() -> None:
    """Ray Data without its own progress and log lines; the jobs print their own."""
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.enable_operator_progress_bars = False
    context.print_on_execution_start = False
