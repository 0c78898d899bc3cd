"""What is measured, where: the actors and the driver of a scan, the driver of a training."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

import ray

from forensics.config import digest
from forensics.records import Status
from forensics.run import Run
from forensics.supervisor import Answer
from jobs import metrics
from jobs.metrics import Meter

FETCH, DECODE, WRITE = "fetch", "decode", "write"
"""Stages beside the detectors, which are called by their names."""

_LOSSES = ("loss", "train_loss", "train_mse")  # as trainings call what they minimise
_TOLD = {
    "number": metrics.EPOCH,
    "lr": metrics.LEARNING_RATE,
    "seconds": metrics.EPOCH_SECONDS,
    "examples_per_second": metrics.EXAMPLES_PER_SECOND,
    **dict.fromkeys(_LOSSES, metrics.LOSS),
}


def scan_key(digest_of_run: str, output: str) -> str:
    """Of a scan into a folder: the same before and after a kill."""
    return digest({"run": digest_of_run, "output": output})


def scan_name(run: Run) -> str:
    """What a scan is called in metrics; so is its run in MLflow."""
    return f"scan-{scan_key(run.digest, run.uri)[:8]}"


class ActorMeter:
    """What one actor of a scan measures."""

    def __init__(self, run: Run) -> None:
        self._meter = Meter(scan_name(run))
        self._deaths = 0
        for status in Status:
            self._meter.start(metrics.IMAGES, status=status)
            for name in run.findings:
                if status in (Status.OK, Status.NOT_APPLICABLE, Status.FAILED):
                    self._meter.start(metrics.FINDINGS, detector=name, status=status)
        for stage in (FETCH, DECODE, *run.findings, WRITE):
            self._meter.start(metrics.BUSY_SECONDS, stage=stage)
        self._meter.start(metrics.FETCHED_BYTES)
        self._meter.start(metrics.RESTARTS)
        if _in_place_of_another():
            self._meter.add(metrics.RESTARTS)

    def answered(self, answer: Answer, ahead: int, deaths: int) -> None:
        """An image is answered; ``ahead`` wait, ``deaths`` of children were there so far."""
        record = answer.record
        findings = {name: v for name, v in record.items() if isinstance(v, dict)}
        self._meter.add(metrics.IMAGES, status=record["status"])
        for name, finding in findings.items():
            self._meter.add(metrics.FINDINGS, detector=name, status=finding["status"])
            self._spent(name, finding["seconds"])
        if answer.fetch_seconds is not None:
            self._spent(FETCH, answer.fetch_seconds)
        if record["seconds"]:  # else nobody measured
            spent = sum(finding["seconds"] for finding in findings.values())
            self._spent(DECODE, max(0.0, record["seconds"] - spent))
        self._meter.add(metrics.FETCHED_BYTES, record["size"] or 0)
        self._meter.set(metrics.IMAGES_AHEAD, ahead)
        self._meter.set(metrics.LAST_IMAGE, time.time())
        self._meter.add(metrics.RESTARTS, deaths - self._deaths)
        self._deaths = deaths

    def wrote(self, seconds: float) -> None:
        """A shard is committed."""
        self._spent(WRITE, seconds)

    def _spent(self, stage: str, seconds: float) -> None:
        self._meter.add(metrics.STAGE_SECONDS, seconds, stage=stage)
        self._meter.add(metrics.BUSY_SECONDS, seconds, stage=stage)


def _in_place_of_another() -> bool:
    """Whether Ray has made this actor again after it died."""
    try:
        return bool(ray.get_runtime_context().was_current_actor_reconstructed)
    except Exception:  # metrics end no job
        return False


class ScanMeter(Meter):
    """What the driver of a scan knows."""

    def __init__(self, run: Run, done: int, waiting: int) -> None:
        """``done`` shards are committed; ``waiting`` are to be done, some of them again."""
        super().__init__(scan_name(run))
        self._shards, self._done, self._waiting = run.shards, done, waiting
        self._say()

    def committed(self, again: bool) -> None:
        """A shard is done, or done again."""
        self._done += not again
        self._waiting -= 1
        self._say()

    def _say(self) -> None:
        self.set(metrics.SHARDS, self._shards)
        self.set(metrics.SHARDS_DONE, self._done)
        self.set(metrics.SHARDS_WAITING, self._waiting)
        self.set(metrics.LAST_IMAGE, time.time())


class TrainingMeter(Meter):
    """What the driver of a training knows."""

    def __init__(self, name: str, epochs: int) -> None:
        super().__init__(name)
        self.set(metrics.EPOCHS, epochs)
        self.set(metrics.EPOCH, 0)

    def epoch(self, epoch: Mapping[str, Any]) -> None:
        """What an epoch reported."""
        for name, value in epoch.items():
            if not isinstance(value, int | float) or not math.isfinite(value):
                continue
            if name in _TOLD:
                self.set(_TOLD[name], value)
            else:
                self.set(metrics.MEASURE, value, measure=name.removeprefix("validation."))
