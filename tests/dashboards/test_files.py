"""What lies in dashboards/ is what the code makes, speaks of metrics that exist, and is valid."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from dashboards import build
from jobs import metrics
from tests.conftest import ROOT

ALERTS = build.FOLDER / "alerts.yml"


def panels(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((build.FOLDER / name).read_text())["panels"]
    return found


def promtool(*arguments: str | Path) -> None:
    if shutil.which("promtool") is None:
        pytest.skip("needs promtool (apt-get install prometheus), which is absent")
    done = subprocess.run(["promtool", *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", build.DASHBOARDS)
def test_the_files_are_what_the_code_makes(name: str) -> None:
    assert (build.FOLDER / name).read_text() == build.text(name), "run python -m dashboards.build"


@pytest.mark.parametrize("name", build.DASHBOARDS)
def test_each_panel_says_what_it_asks_and_what_to_do(name: str) -> None:
    for panel in panels(name):
        assert panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        question, remedy = panel["description"].split("\n\n")
        assert question.endswith("?"), panel["title"]
        assert remedy.endswith("."), panel["title"]
        assert panel["targets"], panel["title"]


def test_every_metric_is_shown_and_no_other() -> None:
    shown = {name: (build.FOLDER / name).read_text() for name in build.DASHBOARDS}
    known = {"scan.json": metrics.SCAN, "training.json": metrics.TRAINING}
    for name, table in known.items():
        found = set(re.findall(r"ray_\w+", shown[name]))
        assert found == {metric.series for metric in table}
    asked = set(re.findall(r"ray_\w+", ALERTS.read_text()))
    assert asked <= {metric.series for metric in metrics.SCAN}


def test_the_table_bounds_its_labels() -> None:
    table = (*metrics.SCAN, *metrics.TRAINING)
    assert len({metric.name for metric in table}) == len(table)
    labels = {name for metric in table for name in metric.labels}
    assert labels == {"status", "detector", "stage", "measure"}


def test_each_alert_says_what_to_do() -> None:
    [group] = yaml.safe_load(ALERTS.read_text())["groups"]
    for rule in group["rules"]:
        assert rule["annotations"].keys() == {"summary", "action"}
        assert rule["for"]


def test_prometheus_takes_rules_and_config() -> None:
    promtool("check", "rules", ALERTS)
    promtool("check", "config", build.FOLDER / "prometheus.yml")


def test_alerts_fire_when_they_should_and_not_otherwise() -> None:
    promtool("test", "rules", Path(__file__).parent / "alerts_test.yml")
