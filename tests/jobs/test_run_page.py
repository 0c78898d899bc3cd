"""What MLflow's page of a scan holds, with names that would like to be more than names."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from forensics.records import ManifestRow
from forensics.report.build import Review, build_review
from forensics.run import Run
from jobs.run_page import show
from jobs.tracking import TrackingSettings, tracked
from tests.evaluate.runs import answer, commit_run
from tests.jobs.test_tracking import Job
from tests.report.pages import HOSTILE
from tests.report.test_build import FORGED, original

NAMES = [
    "[click](javascript:alert)",
    "![pixel](www.evil.example)",
    "`tick` *star* | pipe || # head",
    "www.evil.example",
    HOSTILE[0],
    "photo\u202egnp.exe",
]


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Review, Any, str]:
    """A run and its review, logged twice, as by a scan that was continued."""
    folder = tmp_path_factory.mktemp("logged")
    store = f"sqlite:///{folder / 'mlflow.db'}"
    scores = [0.9 - k / 100 for k in range(len(NAMES))]
    answers = []
    for name, score in zip(NAMES, scores, strict=True):
        path = Path(original(folder, name).uri).rename(folder / name)
        answers.append((ManifestRow(name, str(path)), answer(FORGED, FORGED, score)))
    run = commit_run(folder, answers)
    review = build_review(run, shown=2)
    for _ in range(2):
        with tracked("scan", Job(), TrackingSettings(uri=store), run.uri, key="k") as tracker:
            show(tracker, run, review, ["rows in 8, rows out 8 -> <b>there</b>", "flagged 2"])
    return run, review, MlflowClient(store), tracker.run_id


def test_the_description_leads_on_and_is_no_markup(logged: tuple[Run, Review, Any, str]) -> None:
    run, _, client, run_id = logged
    note = client.get_run(run_id).data.tags["mlflow.note.content"]
    read = html.unescape(note)
    assert note.startswith("rows in 8")
    assert all(f" {name} \N{NO-BREAK SPACE} | " in read for name in NAMES[:5])
    for word in ("contact-sheet.png", "suspects.json", "page.html"):
        assert f"**{word}**" in note
    for way in ("--decisions FILE", "--bundle IMAGE_ID", "--pictures 10000"):
        assert f"\n    python -m jobs.report --run {run.uri} {way}" in f"\n{note}"
    prose = "\n".join(line for line in note.splitlines() if not line.startswith("    "))
    assert not re.search(r"[<>\[\]`!]|://|www\.", prose)


def test_the_table_is_there_once(logged: tuple[Run, Review, Any, str], tmp_path: Path) -> None:
    _, review, client, run_id = logged
    tags = client.get_run(run_id).data.tags
    assert json.loads(tags["mlflow.loggedArtifacts"]) == [
        {"path": "suspects.json", "type": "table"}
    ]
    table = json.loads(
        Path(client.download_artifacts(run_id, "suspects.json", str(tmp_path))).read_text()
    )
    assert table["columns"] == list(review.suspects)
    assert len(table["data"]) == len(NAMES)
    assert [row[0] for row in table["data"]] == list(range(1, len(NAMES) + 1))
    names = [item.path for item in client.list_artifacts(run_id)]
    assert names == ["contact-sheet.png", "page.html", "pictures", "suspects.json"]
    assert len(client.list_artifacts(run_id, "pictures")) == 2
