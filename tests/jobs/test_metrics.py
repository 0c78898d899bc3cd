"""Metrics are bounded, are said again as long as they hold, and end no job."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pytest
import ray.util.metrics

from forensics.run import Run
from forensics.supervisor import Answer
from jobs import meters, metrics
from jobs.meters import ActorMeter, TrainingMeter
from jobs.metrics import Meter, label
from tests.patience import until


class Recorder:
    """In place of Ray's metrics: keeps what it is told, and may fail."""

    told: list[tuple[str, float, Mapping[str, str]]]
    broken = False

    def __init__(self, name: str, *_: Any) -> None:
        self._name = name

    def _record(self, value: float, tags: Mapping[str, str]) -> None:
        if Recorder.broken:
            raise RuntimeError("no Ray")
        Recorder.told.append((self._name, value, tags))


@pytest.fixture(autouse=True)
def _recorder(monkeypatch: pytest.MonkeyPatch) -> None:
    Recorder.told, Recorder.broken = [], False
    for kind in ("Counter", "Gauge", "Histogram"):
        monkeypatch.setattr(ray.util.metrics, kind, Recorder)
    monkeypatch.setattr(metrics, "BEAT_SECONDS", 0.01)


def test_a_gauge_is_said_again_until_its_meter_ends() -> None:
    with Meter("run") as meter:
        meter.set(metrics.SHARDS, 1)
        meter.set(metrics.SHARDS, 7)
        until(lambda: [value for _, value, _ in Recorder.told].count(7.0) >= 3)
    assert Recorder.told[0] == ("forensics_shards", 1.0, {"run": "run"})
    assert all(told == ("forensics_shards", 7.0, {"run": "run"}) for told in Recorder.told[-3:])
    said = len(Recorder.told)
    meter.set(metrics.SHARDS, 8)
    assert not threading.Event().wait(0.1)
    assert len(Recorder.told) == said


def test_a_counter_is_said_once() -> None:
    with Meter("run") as meter:
        meter.start(metrics.IMAGES, status="ok")
        meter.add(metrics.IMAGES, status="ok")
        threading.Event().wait(0.1)
    assert [value for _, value, _ in Recorder.told] == [0.0, 1.0]


def test_what_goes_wrong_ends_the_metrics_alone(caplog: pytest.LogCaptureFixture) -> None:
    Recorder.broken = True
    with Meter("run") as meter:
        for _ in range(3):
            meter.add(metrics.IMAGES, status="ok")
            meter.set(metrics.SHARDS, 1)
    assert caplog.text.count("no more metrics from this process") == 1
    assert "no Ray" in caplog.text


def test_labels_are_short_and_plain() -> None:
    assert label("scan-1a2b3c4d") == "scan-1a2b3c4d"
    assert label('train/camera "A"\n') == "train/camera__A__"
    assert len(label("x" * 1000)) == metrics.LABEL_CHARACTERS


def test_what_an_actor_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meters, "_in_place_of_another", lambda: False)
    report = pa.schema({"image_id": pa.string(), "prnu": pa.struct({"status": pa.string()})})
    meter = ActorMeter(Run("run", "digest", report, rows=3, shards=1, shard_rows=3))

    def answer(status: str, found: str, size: int | None, seconds: float) -> Answer:
        finding = {"status": found, "seconds": seconds / 2}
        record = {"status": status, "size": size, "seconds": seconds, "prnu": finding}
        return Answer(0, record, [], fetch_seconds=1.0 if size else None)

    with meter._meter:  # its gauges would be heard in the tests after this one
        meter.answered(answer("ok", "ok", 100, 3.0), ahead=2, deaths=0)
        meter.answered(answer("ok", "not_applicable", 20, 1.0), ahead=1, deaths=0)
        meter.answered(answer("timeout", "failed", None, 0.0), ahead=0, deaths=1)
        meter.wrote(0.5)
    gauges = {metric.name for metric in metrics.SCAN if metric.kind == "gauge"}
    counted: Counter[tuple[str, ...]] = Counter()
    for name, value, tags in Recorder.told:
        if name not in gauges:
            counted[name.removeprefix("forensics_"), *list(tags.values())[1:]] += value  # no run
    assert {key: value for key, value in counted.items() if value} == {
        ("images", "ok"): 2,
        ("images", "timeout"): 1,
        ("findings", "prnu", "ok"): 1,
        ("findings", "prnu", "not_applicable"): 1,
        ("findings", "prnu", "failed"): 1,
        ("fetched_bytes",): 120,
        ("worker_restarts",): 1,
        **{
            (name, stage): seconds
            for name in ("busy_seconds", "stage_seconds")
            for stage, seconds in {"fetch": 2, "decode": 2, "prnu": 2, "write": 0.5}.items()
        },
    }


def test_an_epoch_becomes_gauges_and_measures() -> None:
    numbers = {
        "number": 2,
        "train_mse": 0.5,
        "lr": 1e-3,
        "seconds": 4.0,
        "examples_per_second": 10.0,
        "validation.auc": 0.9,
        "adjusted_r2": float("nan"),
    }
    with TrainingMeter("job/camera", 3) as meter:
        meter.epoch(numbers)
    said = {name: (value, tags.get("measure")) for name, value, tags in Recorder.told}
    assert said == {
        "forensics_epochs": (3, None),
        "forensics_epoch": (2, None),
        "forensics_loss": (0.5, None),
        "forensics_learning_rate": (1e-3, None),
        "forensics_epoch_seconds": (4, None),
        "forensics_examples_per_second": (10, None),
        "forensics_measure": (0.9, "auc"),
    }
