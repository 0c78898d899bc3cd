"""A real Prometheus watches a real scan and a real training: every panel has something to show."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from dashboards import build
from jobs import metrics
from tests.conftest import ROOT
from tests.jobs.heads import Head, free_port, running_head
from tests.jobs.origin_images import SMALL, origin_manifest
from tests.jobs.runs import make_archive, report_rows, scan_arguments, start
from tests.jobs.trainings import words
from tests.patience import PATIENCE_SECONDS
from tests.saboteur import NAME

pytestmark = [pytest.mark.ray, pytest.mark.slow]

FAST = {"RAY_metrics_report_interval_ms": "1000"}
IMAGES = 160
LOST = 20  # that two workers answer in a report's interval, at 0.1 s each
KNOWN_LABELS = {"run", "status", "detector", "stage", "measure", "le"}
RAY_LABELS = {"__name__", "instance", "job", "NodeAddress", "WorkerId"}
QUERIES = [
    (name, panel["title"], target["expr"])
    for name in build.DASHBOARDS
    for panel in json.loads((build.FOLDER / name).read_text())["panels"]
    for target in panel["targets"]
]


@dataclass(frozen=True)
class Watched:
    """What Prometheus saw between two times, and the scan that it saw."""

    url: str
    begin: float
    end: float
    scanned: Path

    def get(self, path: str, **arguments: str | float) -> Any:
        """The data of an answer of Prometheus."""
        query = urllib.parse.urlencode(arguments)
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{query}", timeout=30) as answer:
            return json.load(answer)["data"]

    def course(self, query: str) -> list[float]:
        """All finite values of a query between the two times, second by second."""
        data = self.get("query_range", query=query, start=self.begin, end=self.end, step=1)
        values = [float(text) for series in data["result"] for _, text in series["values"]]
        return [value for value in values if math.isfinite(value)]

    def most(self, query: str, label: str) -> dict[str, float]:
        """The highest value that a query had, by a label of its series."""
        data = self.get("query_range", query=query, start=self.begin, end=self.end, step=1)
        return {
            series["metric"][label]: max(float(text) for _, text in series["values"])
            for series in data["result"]
        }


@contextmanager
def prometheus(folder: Path, head: Head) -> Iterator[str]:
    """Its URL; with the project's own files, but faster and on this head."""
    config = yaml.safe_load((build.FOLDER / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(build.FOLDER / "alerts.yml")]
    [scrape] = config["scrape_configs"]
    [found] = scrape["file_sd_configs"]
    found["files"] = [str(head.folder / Path(found["files"][0]).name)]
    found["refresh_interval"] = "1s"
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    address = f"127.0.0.1:{free_port()}"
    command = ["prometheus", f"--config.file={folder / 'prometheus.yml'}", "--log.level=warn"]
    command += [f"--web.listen-address={address}", f"--storage.tsdb.path={folder / 'tsdb'}"]
    process = subprocess.Popen(command)
    try:
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    if shutil.which("prometheus") is None:
        pytest.skip("needs prometheus (apt-get install prometheus), which is absent")
    folder = tmp_path_factory.mktemp("watched")
    env = {**FAST, "PYTHONPATH": str(ROOT), "SABOTEUR_FOLDER": str(folder)}
    begin = time.time()
    with running_head(cpus=5, env=env) as head, prometheus(folder, head) as url:
        env["RAY_ADDRESS"] = head.address
        jobs = [
            start("jobs.scan", *scan_words(folder), env=env),
            start("jobs.train_origin", *training_words(folder), env=env),
        ]
        for job in jobs:
            output, _ = job.communicate(timeout=PATIENCE_SECONDS)
            assert job.returncode == 0, output
        time.sleep(2)  # for the last report and the last scrape
        yield Watched(url, begin, time.time(), folder / "run")


def scan_words(folder: Path) -> list[str]:
    """Images of all outcomes, one of which takes its worker with it."""
    kinds = {3: "-raise", 7: "-abstain"}
    ids = [f"slow{n:03d}{kinds.get(n % 10, '')}" for n in range(IMAGES)]
    ids[20] += "-kill-once"
    return scan_arguments(make_archive(folder, ids), folder / "run", shard_rows="8")


def training_words(folder: Path) -> list[str]:
    given = {"manifest": origin_manifest(folder), "output": folder / "networks", "folds": 2}
    tracking = {"tracking.uri": f"sqlite:///{folder / 'training.db'}"}
    return words({**given, **tracking, "pool.workers": 1, **SMALL, "training.epochs": 4})


@pytest.mark.parametrize(("name", "title", "query"), QUERIES)
def test_every_query_of_every_panel_gives_something(
    watched: Watched, name: str, title: str, query: str
) -> None:
    asked = query.replace("$__rate_interval", "5s").replace("$run", ".+")
    assert watched.course(asked), f"{name}, {title}: nothing for {asked}"


def test_what_is_counted_is_what_the_report_says(watched: Watched) -> None:
    rows = report_rows(watched.scanned)
    images = watched.most(f"sum by (status) ({metrics.IMAGES.series})", "status")
    near(images, Counter(row["status"] for row in rows))
    findings = watched.most(f"sum by (status) ({metrics.FINDINGS.series})", "status")
    near(findings, Counter(row[NAME.split(":")[1].lower()]["status"] for row in rows))
    [fetched] = watched.most(f"sum by (run) ({metrics.FETCHED_BYTES.series})", "run").values()
    total = sum(row["size"] for row in rows)
    assert total * (1 - LOST / IMAGES) <= fetched <= total
    assert max(watched.course(f"sum ({metrics.RESTARTS.series})")) == 1
    assert max(watched.course(metrics.SHARDS_DONE.series)) == IMAGES / 8
    assert max(watched.course(metrics.EPOCH.series)) == 4
    busy = watched.most(f"sum by (stage) ({metrics.BUSY_SECONDS.series})", "stage")
    assert busy.keys() == {"fetch", "decode", "saboteur", "write"}
    assert busy["saboteur"] >= 0.1 * (IMAGES - LOST)


def near(counted: Mapping[str, float], said: Mapping[str, int]) -> None:
    """Ray ends a worker of a job that is over even where its last report is not out yet."""
    assert {status for status, count in counted.items() if count} == said.keys()
    assert all(counted[status] <= count for status, count in said.items())
    assert sum(said.values()) - LOST <= sum(counted.values())


def test_nothing_is_labelled_by_image_or_file(watched: Watched) -> None:
    given = {"match[]": '{__name__=~"ray_forensics_.+"}', "start": watched.begin}
    series = watched.get("series", **given, end=watched.end)
    assert {name for one in series for name in one} == KNOWN_LABELS | RAY_LABELS
    assert not [value for one in series for value in one.values() if "slow" in value]


def test_the_rules_are_evaluated_and_nothing_is_the_matter(watched: Watched) -> None:
    [group] = watched.get("rules")["groups"]
    assert {rule["health"] for rule in group["rules"]} == {"ok"}
    assert not [rule["name"] for rule in group["rules"] if rule["state"] == "firing"]
