"""Metrics are bounded, are said again as long as they hold, and end no job."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import pytest
import ray.util.metrics

from jobs import metrics
from jobs.meters import TrainingMeter
from jobs.metrics import Meter, label


class Recorder:
    """In place of Ray's metrics: keeps what it is told, and may fail."""

    told: list[tuple[str, float, Mapping[str, str]]]
    enough = threading.Event()
    broken = False

    def __init__(self, name: str, *_: Any) -> None:
        self._name = name

    def _record(self, value: float, tags: Mapping[str, str]) -> None:
        if Recorder.broken:
            raise RuntimeError("no Ray")
        Recorder.told.append((self._name, value, tags))
        if len(Recorder.told) >= 3:
            Recorder.enough.set()


@pytest.fixture(autouse=True)
def _recorder(monkeypatch: pytest.MonkeyPatch) -> None:
    Recorder.told, Recorder.enough, Recorder.broken = [], threading.Event(), False
    for kind in ("Counter", "Gauge", "Histogram"):
        monkeypatch.setattr(ray.util.metrics, kind, Recorder)
    monkeypatch.setattr(metrics, "BEAT_SECONDS", 0.01)


def test_a_gauge_is_said_again_until_its_meter_ends() -> None:
    with Meter("run") as meter:
        meter.set(metrics.SHARDS, 1)
        meter.set(metrics.SHARDS, 7)
        assert Recorder.enough.wait(30)
    first, *others = Recorder.told
    assert first == ("forensics_shards", 1.0, {"run": "run"})
    assert {value for _, value, _ in others} == {7.0}
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
