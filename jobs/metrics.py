"""What running jobs tell Prometheus: the table of the metrics, and the one way to write them.

Ray exports what is written here at the metrics port of every node, as ``ray_<name>`` (a counter as
``ray_<name>_total``), beside labels of its own such as ``WorkerId``. Nothing is ever labelled by an
image or a file. Whatever goes wrong here ends the metrics, never the job.
"""

from __future__ import annotations

import logging
import re
import threading
from dataclasses import dataclass
from typing import Any, Literal, Self

BEAT_SECONDS = 1.0
"""Ray forgets a gauge that is not set again within two of its reports (every 10 s)."""

LABEL_CHARACTERS = 80

SECONDS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0)
"""Bounds of the histogram's buckets."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Metric:
    """A metric's name, kind, meaning and labels (beside ``run``, which every one has)."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()

    @property
    def series(self) -> str:
        """Its name in Prometheus; of a histogram, that of its buckets."""
        suffix = {"counter": "_total", "gauge": "", "histogram": "_bucket"}[self.kind]
        return f"ray_{self.name}{suffix}"


IMAGES = Metric(
    "forensics_images", "counter", "images answered, by what became of them", ("status",)
)
FINDINGS = Metric(
    "forensics_findings", "counter", "what detectors said, by outcome", ("detector", "status")
)
STAGE_SECONDS = Metric(
    "forensics_stage_seconds",
    "histogram",
    "seconds of an image in fetch, decode and each detector, and of a shard in write",
    ("stage",),
)
BUSY_SECONDS = Metric(
    "forensics_busy_seconds",
    "counter",
    "the same seconds added up (the sum in Ray's histogram is made of the middles of its buckets)",
    ("stage",),
)
FETCHED_BYTES = Metric("forensics_fetched_bytes", "counter", "bytes of the images fetched")
IMAGES_AHEAD = Metric("forensics_images_ahead", "gauge", "images fetched that wait in a worker")
RESTARTS = Metric(
    "forensics_worker_restarts", "counter", "workers replaced after a death, or ended by a limit"
)
SHARDS = Metric("forensics_shards", "gauge", "shards of the scan")
SHARDS_DONE = Metric("forensics_shards_done", "gauge", "shards committed, by earlier jobs too")
SHARDS_WAITING = Metric(
    "forensics_shards_waiting", "gauge", "shards that this job has to do yet, those at work too"
)
LAST_IMAGE = Metric(
    "forensics_last_image_seconds",
    "gauge",
    "Unix time of the last image answered, or else of the start",
)
EPOCH = Metric("forensics_epoch", "gauge", "epochs trained")
EPOCHS = Metric("forensics_epochs", "gauge", "epochs that the training shall have")
LOSS = Metric("forensics_loss", "gauge", "loss on what is trained on, mean over the last epoch")
LEARNING_RATE = Metric("forensics_learning_rate", "gauge", "learning rate of the last epoch")
MEASURE = Metric(
    "forensics_measure",
    "gauge",
    "other measures of the last epoch, mostly of validation",
    ("measure",),
)
EPOCH_SECONDS = Metric(
    "forensics_epoch_seconds", "gauge", "seconds of the last epoch, validation included"
)
EXAMPLES_PER_SECOND = Metric(
    "forensics_examples_per_second", "gauge", "what the last epoch learned from, per second"
)

SCAN = (
    *(IMAGES, FINDINGS, STAGE_SECONDS, BUSY_SECONDS, FETCHED_BYTES, IMAGES_AHEAD, RESTARTS),
    *(SHARDS, SHARDS_DONE, SHARDS_WAITING, LAST_IMAGE),
)
TRAINING = (EPOCH, EPOCHS, LOSS, LEARNING_RATE, MEASURE, EPOCH_SECONDS, EXAMPLES_PER_SECOND)


class Meter:
    """Writes the metrics of one run, in one process; a context manager that ends its gauges."""

    def __init__(self, run: str) -> None:
        self._run = label(run)
        self._made: dict[str, Any] = {}
        self._gauges: dict[tuple[Metric, tuple[tuple[str, str], ...]], float] = {}
        self._lock = threading.Lock()
        self._ended = threading.Event()
        threading.Thread(target=self._beat, name="metrics", daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        with self._lock:  # no gauge is being set any more: Ray may be left now
            self._gauges.clear()

    def start(self, metric: Metric, **labels: str) -> None:
        """Have a counter at 0: a rate does not see the jump from nothing to the first count."""
        self._write(metric, 0.0, labels)

    def add(self, metric: Metric, value: float = 1.0, **labels: str) -> None:
        """Count, or observe one value of a histogram."""
        self._write(metric, value, labels)

    def set(self, metric: Metric, value: float, **labels: str) -> None:
        """Set a gauge, until it is set again or the meter is ended."""
        with self._lock:
            self._gauges[metric, tuple(labels.items())] = value
            self._write(metric, value, labels)

    def _beat(self) -> None:
        while not self._ended.wait(BEAT_SECONDS):
            with self._lock:
                for (metric, labels), value in self._gauges.items():
                    self._write(metric, value, dict(labels))

    def _write(self, metric: Metric, value: float, labels: dict[str, str]) -> None:
        if self._ended.is_set():
            return
        try:
            tags = {"run": self._run, **{name: label(text) for name, text in labels.items()}}
            # Ray's own `inc` refuses the 0 that a counter starts at
            self._of_ray(metric)._record(float(value), tags)
        except Exception:
            self._ended.set()
            _log.warning("no more metrics from this process", exc_info=True)

    def _of_ray(self, metric: Metric) -> Any:
        if metric.name not in self._made:
            from ray.util import metrics  # `jobs.cluster` sets up Ray before it is imported

            keys = ("run", *metric.labels)
            if metric.kind == "histogram":
                made: Any = metrics.Histogram(metric.name, metric.help, list(SECONDS), keys)
            else:
                kind = metrics.Counter if metric.kind == "counter" else metrics.Gauge
                made = kind(metric.name, metric.help, keys)
            self._made[metric.name] = made
        return self._made[metric.name]


def label(text: str) -> str:
    """A short value without odd characters."""
    return re.sub(r"[^\w\-./:@]", "_", text)[:LABEL_CHARACTERS]
