"""The study of manipulations end to end, with a real Ray and a real MLflow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient

from forensics.config import load
from forensics.evaluate.study.manipulation import RECORDS
from forensics.evaluate.study.manipulation_summary import TABLE
from forensics.records import ManifestRow, UserError
from jobs.entry import INCOMPLETE, OK
from jobs.evaluate import evaluate
from jobs.evaluation.cells import digest_of
from jobs.evaluation.settings import EvaluateJob
from jobs.training.journal import Journal
from tests.jobs.photos import camera_photos, manifest_of

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_local")]

SMALL: dict[str, Any] = {
    "tasks": "noise-2,blur-1.1",
    "methods": "svm,residual",
    "patches_per_photo": "2,6",
    "test_patches_per_photo": 4,
    "seeds": "0,1",
    "window": 40,
    "residual.epochs": 1,
}


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[ManifestRow]:
    """Photos of three cameras."""
    return camera_photos(tmp_path_factory.mktemp("photos"), cameras=3, each=2)


def job(folder: Path, rows: list[ManifestRow], **more: Any) -> EvaluateJob:
    values = {
        "truth": manifest_of(folder, rows),
        "output": folder / "study",
        "pool.workers": 2,
        **{f"manipulation.{name}": value for name, value in {**SMALL, **more}.items()},
    }
    return load(EvaluateJob, None, [w for n, v in values.items() for w in (f"--{n}", str(v))])


def test_every_cell_is_made(
    rows: list[ManifestRow], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(job(tmp_path, rows)) == OK
    records = pq.read_table(tmp_path / "study" / "study.parquet")
    assert records.schema.equals(RECORDS)
    assert records.num_rows == 2 * 2 * 2 * 2
    for record in records.to_pylist():
        size = record["patches_per_photo"]
        assert (record["training_patches"], record["test_patches"]) == (4 * size * 2, 2 * 4 * 2)
        assert len(record["tested_on"]) == 1
        if record["task"] == "noise-2" and size == 6:
            assert record["accuracy"] > 0.7
    by_seed = {(r["seed"], *r["tested_on"]) for r in records.to_pylist()}
    assert len(by_seed) == 2  # all cells of a seed are tested on the same device
    table = pq.read_table(tmp_path / "study" / "table.parquet")
    assert table.schema.equals(TABLE)
    assert table.num_rows == 2 * 2 * 2
    summary = json.loads((tmp_path / "study" / "summary.json").read_text())
    assert summary["status"] == {"ok": 16}
    assert summary["devices"] == ["camera1", "camera2", "camera3"]
    printed = capsys.readouterr().out
    assert "residual CNN over SRM+SVM, 6 per photo: " in printed
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("forensics/evaluate")
    assert experiment is not None
    [run] = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.tags["forensics.study"] == "manipulation"
    cell = summary["cells"][0]
    for measure in ("accuracy", "auc", "sd"):
        name = f"{measure}.{cell['task']}.{cell['method']}.{cell['patches_per_photo']}"
        assert run.data.metrics[name] == pytest.approx(cell[measure])
    artifacts = Path(run.info.artifact_uri.removeprefix("file://"))
    assert {p.name for p in artifacts.iterdir()} == {"summary.json", "table.json", "accuracy.png"}
    assert not (tmp_path / "study" / ".training").exists()


def test_a_cell_that_was_made_is_not_made_again(
    rows: list[ManifestRow], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = job(tmp_path, rows, tasks="noise-2", methods="svm", patches_per_photo=2)
    assert one.manipulation is not None
    ordered = sorted(rows, key=lambda row: row.image_id)
    journal = Journal.open(str(one.output), digest_of(one.manipulation, ordered))
    first, _ = one.manipulation.cells()
    made = {
        "task": first.task,
        "method": first.method,
        "patches_per_photo": 2,
        "seed": 0,
        "status": "ok",
        "accuracy": 0.125,
    }
    journal.end(first.name, made)
    assert evaluate(one) == OK
    records = pq.read_table(tmp_path / "study" / "study.parquet").to_pylist()
    assert records[0]["accuracy"] == 0.125
    assert records[1]["accuracy"] != 0.125
    assert records[1]["test_patches"] == 16


def test_cells_that_cannot_be_made_set_the_exit_code(
    rows: list[ManifestRow], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    two = [row for row in rows if row.camera_id != "camera3"]
    few = {"tasks": "noise-2", "patches_per_photo": 2, "seeds": 0}
    assert evaluate(job(tmp_path, two, **few)) == INCOMPLETE
    summary = json.loads((tmp_path / "study" / "summary.json").read_text())
    assert summary["status"] == {"not_applicable": 1, "ok": 1}
    assert "1 x an SVM needs patches of two classes and two devices" in capsys.readouterr().out
    with pytest.raises(UserError, match="photos of 1 device cannot be split"):
        evaluate(job(tmp_path, rows[:2], **few))
    with pytest.raises(UserError, match="names no image"):
        evaluate(job(tmp_path, [], **few))
