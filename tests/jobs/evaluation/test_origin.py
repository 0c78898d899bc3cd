"""The study of the origin end to end, with a real Ray and a real MLflow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient

from forensics.config import load
from forensics.evaluate.study import origin, origin_cell
from forensics.records import UserError
from jobs.entry import INCOMPLETE, OK
from jobs.evaluate import evaluate
from jobs.evaluation import origin as origin_study
from jobs.evaluation.cells import digest_of
from jobs.evaluation.settings import EvaluateJob
from tests.jobs.origin_images import SMALL, origin_manifest

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_local")]


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> str:
    return origin_manifest(tmp_path_factory.mktemp("images"))


def study(truth: str, output: Path, store: str, **more: Any) -> int:
    given = {
        "truth": truth,
        "output": output,
        "tracking.uri": store,
        "tracking.experiment": output.parent.name,
        "pool.workers": 2,
        "origin.folds": 2,
        **{f"origin.{name}": value for name, value in SMALL.items()},
        **more,
    }
    words = [word for name, value in given.items() for word in (f"--{name}", str(value))]
    return evaluate(load(EvaluateJob, None, words))


def test_table_and_figures(truth: str, tmp_path: Path, store: str) -> None:
    output = tmp_path / "study"
    more = {"origin.methods": "ada,saturation", "origin.jpeg_qualities": 50}
    assert study(truth, output, store, **more) == OK
    summary = json.loads((output / "summary.json").read_text())
    rows = {(r["method"], r["levelled"], r["operation"]): r for r in summary["rows"]}
    assert set(rows) == {
        (method, levelled, operation)
        for method in ("ada", "saturation")
        for levelled, operation in ((True, "original"), (True, "jpeg-50"), (False, "original"))
    }
    assert all(row["images"] == 12 for row in rows.values())  # each tested once
    assert summary["images"] == {"npi": 4, "cgg": 4, "dgi": 4}
    assert set(summary["folds"].values()) == {0, 1}
    assert set(summary["filters"]) == {"ada, levelled", "ada, as found"}
    assert summary["missing"] == {}
    assert set(summary["courses"]) == {
        f"ada_{how}_fold{fold}" for how in ("levelled", "as-found") for fold in (0, 1)
    }
    assert all(len(course) == 2 for course in summary["courses"].values())
    records = pq.read_table(output / "study.parquet")
    assert records.schema.equals(origin.RECORDS)
    assert records.num_rows == 6 * 12
    for row in records.to_pylist():
        assert summary["folds"][row["source"]] == row["fold"]
    assert not (output / ".training").exists()
    client = MlflowClient(store)
    experiment = client.get_experiment_by_name(tmp_path.name)
    assert experiment is not None
    [run] = client.search_runs([experiment.experiment_id])
    assert "accuracy.ada.levelled.jpeg-50" in run.data.metrics
    course = client.get_metric_history(run.info.run_id, "held_out_accuracy.ada_levelled_fold1")
    assert [point.step for point in course] == [1, 2]
    artifacts = Path(run.info.artifact_uri.removeprefix("file://"))
    found = {path.relative_to(artifacts).as_posix() for path in artifacts.rglob("*.*")}
    assert {"robustness.png", "filters/ada_levelled_fold0.png"} <= found
    assert {"confusion/ada-levelled.png", "confusion/saturation-as-found.png"} <= found


def test_cells_that_were_made_are_not_made_again(
    truth: str, tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "study"
    more = {"origin.methods": "saturation", "origin.levelled": "true"}
    evaluate_cell, begun = origin_cell.evaluate_cell, tmp_path / "begun"

    def broken(study: Any, classes: Any, vgg: Any, cell: Any, *rest: Any) -> Any:
        if cell.fold == 1:
            raise ValueError("broken")
        return evaluate_cell(study, classes, cell, *rest)

    def noted(study: Any, classes: Any, vgg: Any, cell: Any, *rest: Any) -> Any:
        with begun.open("a") as file:
            file.write(cell.name)
        return evaluate_cell(study, classes, cell, *rest)

    monkeypatch.setattr(origin_study, "_evaluated", broken)
    monkeypatch.setattr(origin_study.Journal, "close", lambda _: None)
    assert study(truth, output, store, **more) == INCOMPLETE
    summary = json.loads((output / "summary.json").read_text())
    assert summary["status"] == {"failed": 6, "ok": 6}
    assert list(summary["reasons"]) == ["ValueError: broken"]
    monkeypatch.undo()
    monkeypatch.setattr(origin_study, "_evaluated", noted)
    assert study(truth, output, store, **more) == OK
    assert begun.read_text() == "saturation_levelled_fold1"


def test_images_apart_that_share_their_sources(
    truth: str, tmp_path: Path, store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "study"
    more = {"origin.methods": "saturation", "origin.levelled": "true", "origin.apart": "images"}
    assert study(truth, output, store, **more) == OK
    assert "note: training and test share sources" in capsys.readouterr().out
    records = pq.read_table(output / "study.parquet").to_pylist()
    assert len({record["image_id"] for record in records}) == len(records) == 12
    folds: dict[str, set[int]] = {}
    for record in records:
        folds.setdefault(record["source"], set()).add(record["fold"])
    assert {0, 1} in folds.values()
    for label in ("npi", "cgg", "dgi"):
        assert sorted(r["fold"] for r in records if r["label"] == label) == [0, 0, 1, 1]


def test_folds_that_lack_classes_or_everything_are_named(
    truth: str, tmp_path: Path, store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    more = {"origin.methods": "saturation", "origin.levelled": "true", "origin.folds": 8}
    assert study(truth, tmp_path / "study", store, **more) == OK
    summary = json.loads((tmp_path / "study" / "summary.json").read_text())
    out = capsys.readouterr().out
    empty = set(range(8)) - set(summary["folds"].values())
    assert len(empty) == 2  # eight folds of six sources
    for fold in range(8):
        missing = summary["missing"][str(fold)]
        assert len(missing) == (3 if fold in empty else 2)
        named = "has no image, so" if fold in empty else f"has no image of {', '.join(missing)}"
        assert f"note: fold {fold} {named}" in out
    [row] = summary["rows"]
    assert row["images"] == 12


def test_the_content_of_vgg_s_file_counts_and_not_where_it_lies() -> None:
    settings = origin.OriginStudy(vgg_weights="a.pth")
    moved = origin.OriginStudy(vgg_weights="b.pth")
    one = digest_of(settings, [], {"vgg_weights": b"one"})
    assert digest_of(moved, [], {"vgg_weights": b"one"}) == one
    assert digest_of(settings, [], {"vgg_weights": b"other"}) != one


def test_what_cannot_be_studied_is_refused(truth: str, tmp_path: Path, store: str) -> None:
    with pytest.raises(UserError, match="no image is labelled 'photo'"):
        study(truth, tmp_path / "a", store, **{"origin.natural": "photo"})
    with pytest.raises(UserError, match="exactly one of"):
        study(truth, tmp_path / "a", store, run="somewhere")
