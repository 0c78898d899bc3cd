"""A training on Ray Train: run it, follow it from the driver, continue it after a kill."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import ray
import ray.train
from ray.exceptions import RayActorError
from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig, UserCallback
from ray.train.torch import TorchTrainer

from forensics.records import UserError, explain
from jobs.cluster import FREE_CPUS, Pool
from jobs.training.reported import Epoch, Reported
from jobs.training.storage import file_system

_POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Workers:
    """The processes that train together; each sees its part of every batch."""

    count: int
    cpus: float
    gpus: float

    @classmethod
    def of(cls, pool: Pool, count: int) -> Workers:
        """So many with the resources of the pool's. Raises `UserError` if they would wait for
        ever."""
        have = ray.cluster_resources()
        cpus, gpus = count * pool.cpus_per_worker, count * pool.gpus_per_worker
        if cpus + FREE_CPUS > have.get("CPU", 0.0) or gpus > have.get("GPU", 0.0):
            raise UserError(
                f"workers_per_training {count} needs {cpus + FREE_CPUS:g} CPUs (one of them "
                f"free for Ray) and {gpus:g} GPUs; the cluster has {have.get('CPU', 0.0):g} CPUs "
                f"and {have.get('GPU', 0.0):g} GPUs. The job would hang: set it lower."
            )
        return cls(count, pool.cpus_per_worker, pool.gpus_per_worker)


def run_training(
    loop: Callable[[dict[str, Any]], Any],
    config: dict[str, Any],
    *,
    folder: str,
    name: str,
    workers: Workers,
    retries: int,
    on_epoch: Callable[[Epoch], None],
) -> Any:
    """What ``loop(config)`` returns on the first worker.

    Checkpoints go to ``folder/name``, a URI; a training that finds some there continues from the
    last. ``on_epoch`` is called here, in the driver, for what every epoch reports. A worker that
    fails is started again ``retries`` times; then `RuntimeError` says why.
    """
    course = ray.remote(num_cpus=0, max_restarts=-1)(Reported).remote()
    trainer = TorchTrainer(
        loop,
        train_loop_config=config,
        scaling_config=ScalingConfig(
            num_workers=workers.count,
            use_gpu=workers.gpus > 0,
            resources_per_worker={"CPU": workers.cpus, "GPU": workers.gpus},
        ),
        run_config=RunConfig(
            name=name,
            storage_path="runs",
            storage_filesystem=file_system(folder),
            failure_config=FailureConfig(max_failures=retries),
            checkpoint_config=CheckpointConfig(num_to_keep=1),
            callbacks=[_Reporter(course)],
        ),
    )
    outcome: dict[str, Any] = {}

    def fit() -> None:
        try:
            outcome["value"] = trainer.fit().return_value
        except BaseException as error:
            outcome["error"] = error

    # In a thread of its own: the driver follows, and Ctrl-C ends the job as it ends every job.
    thread = threading.Thread(target=fit, name=f"train-{name}", daemon=True)
    thread.start()
    seen = 0
    while thread.is_alive():
        thread.join(_POLL_SECONDS)
        with suppress(RayActorError):  # what it forgot is in what the loop returns
            for epoch in ray.get(course.since.remote(seen)):
                seen += 1
                on_epoch(epoch)
    if "error" in outcome:
        raise RuntimeError(_reason(outcome["error"])) from outcome["error"]
    return outcome["value"]


class _Reporter(UserCallback):  # type: ignore[misc]
    """Runs in the controller of Ray Train, whose output nobody sees."""

    def __init__(self, course: Any) -> None:
        self._course = course

    def after_report(
        self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any
    ) -> None:
        with suppress(RayActorError):
            ray.get(self._course.add.remote(metrics[0]))


def _reason(error: BaseException) -> str:
    """The first worker's own error, without the frames of Ray."""
    workers = getattr(error, "worker_failures", None)
    return explain(next(iter(workers.values()))) if workers else explain(error)
