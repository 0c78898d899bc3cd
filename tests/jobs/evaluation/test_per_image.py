"""Studies end to end, with a real Ray and a real MLflow, on tiny simulated cameras."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from forensics.config import load
from forensics.evaluate.scan import THRESHOLDS
from forensics.evaluate.study import localization, localization_summary, prediction
from forensics.evaluate.study.settings import LocalizationStudy, PredictionStudy
from forensics.manifest import write_manifest
from forensics.records import ManifestRow, UserError
from jobs.cluster import Pool, PoolSettings
from jobs.entry import INCOMPLETE, OK
from jobs.evaluate import evaluate
from jobs.evaluation import per_image as studies
from jobs.evaluation.settings import EvaluateJob
from jobs.tracking import TrackingSettings
from tests.evaluate.study.archive import TRAINED, put_model, put_photo, put_splice
from tests.prnu.cameras import photo, trained_model

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_local")]

CAMERAS = (1, 2)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two cameras with models, two splices each, a pristine photo, and one of nobody's."""
    folder = tmp_path_factory.mktemp("archive")
    rows = []
    for seed, donor in zip(CAMERAS, CAMERAS[::-1], strict=True):
        put_model(folder, trained_model(seed))
        rows += [
            put_splice(folder, f"splice{seed}-{n}", seed, n, donor)
            for n in range(TRAINED, TRAINED + 2)
        ]
        rows.append(put_photo(folder, f"pristine{seed}", photo(seed, TRAINED + 2), f"camera{seed}"))
    rows.append(replace(rows[0], image_id="stranger", camera_id="stranger"))
    write_manifest(rows[::-1], str(folder / "truth.parquet"))
    return folder


def job(archive: Path, folder: Path, **settings: Any) -> EvaluateJob:
    values: dict[str, Any] = {
        "truth": str(archive / "truth.parquet"),
        "output": str(folder / "study"),
        "pool": PoolSettings(workers=2),
        **settings,
    }
    return EvaluateJob(**values)


def locate(archive: Path, **changes: Any) -> LocalizationStudy:
    values: dict[str, Any] = {
        "camera_models": str(archive / "models"),
        "predictors": ("lse",),
        "strategies": ("sw-ss", "s-slic"),
        "decisions": ("stm",),
        "stride": 16,
        **changes,
    }
    return LocalizationStudy(**values)


def logged(folder: Path) -> tuple[Run, set[str]]:
    """The one MLflow run beside the output, and the names of its artifacts."""
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("forensics/evaluate")
    [run] = client.search_runs([experiment.experiment_id])
    artifacts = Path(run.info.artifact_uri.removeprefix("file://"))
    names = {str(p.relative_to(artifacts)) for p in artifacts.rglob("*") if p.is_file()}
    return run, names


def test_localization(archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate(job(archive, tmp_path, localization=locate(archive))) == OK
    folder = tmp_path / "study"
    records = pq.read_table(folder / "study.parquet")
    assert records.schema.equals(localization.RECORDS)
    rows = records.to_pylist()
    assert len(rows) == 6 * 2 * THRESHOLDS.size + 2
    order = list(dict.fromkeys((r["camera_id"], r["image_id"]) for r in rows))
    assert order == sorted(order)
    assert len(order) == 7
    strangers = [r for r in rows if r["image_id"] == "stranger"]
    assert [r["reason"] for r in strangers] == ["no camera model of stranger"] * 2

    summary = json.loads((folder / "summary.json").read_text())
    assert summary["study"] == "localization"
    assert summary["settings"]["strategies"] == ["sw-ss", "s-slic"]
    assert summary["truth"]["rows"] == 7
    for variant in summary["variants"]:
        assert variant["status"] == {"not_applicable": 1, "ok": 6}
        assert variant["f1"]["n"] == 4
        assert variant["f1"]["max"] > 0.4  # splices are found
        assert variant["false_alarms"]["n"] == 2
    table = pq.read_table(folder / "table.parquet")
    assert table.schema.equals(localization_summary.TABLE)
    assert table["camera_id"].to_pylist() == ["all", "camera1", "camera2"] * 2

    run, names = logged(tmp_path)
    assert run.info.status == "FINISHED"
    assert run.data.params["localization.stride"] == "16"
    assert run.data.tags["forensics.study"] == "localization"
    best = summary["variants"][0]["f1"]
    assert run.data.metrics["f1_max.sw-ss.all"] == pytest.approx(best["max"])
    assert run.data.metrics["tau.sw-ss.camera1"] == pytest.approx(best["cameras"]["camera1"]["tau"])
    assert names == {
        "summary.json",
        "table.json",
        *(f"{name}.png" for name in ("f1", "roc", "by_camera-f1", "by_camera-roc")),
    }
    printed = capsys.readouterr().out
    assert "all variants: not_applicable 1, ok 6" in printed
    assert "1 x no camera model of stranger" in printed
    assert f"sw-ss             4  {best['max']:.3f}" in printed
    assert "sw-ss over s-slic: " in printed


def test_prediction(archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = PredictionStudy(
        camera_models=str(archive / "models"), predictors=("lse", "cnn"), blocks_per_image=30
    )
    assert evaluate(job(archive, tmp_path, prediction=study)) == INCOMPLETE  # there is no cnn
    records = pq.read_table(tmp_path / "study" / "study.parquet")
    assert records.schema.equals(prediction.RECORDS)
    assert records.num_rows == 7 * 2 - 2 + 2 * 30
    summary = json.loads((tmp_path / "study" / "summary.json").read_text())
    lse, cnn = summary["variants"]
    assert set(lse["cameras"]) == {"camera1", "camera2"}
    assert lse["status"] == {"not_applicable": 5, "ok": 2}
    assert cnn["judged"] == 0
    run, names = logged(tmp_path)
    assert names == {"summary.json", "table.json", "scatter-1.png"}
    r2 = lse["average"]["r2"]["mean"]
    assert run.data.metrics["r2.lse.average"] == pytest.approx(r2)
    printed = capsys.readouterr().out
    assert re.search(rf"average +{r2:.3f}".replace("-", r"\-"), printed)
    assert "5 x the photo is forged" in printed
    assert "x camera camera1 has no cnn predictor of mixed JPEG quality" in printed


def test_a_broken_mask_costs_its_image_and_sets_the_exit_code(
    archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        ManifestRow(**{**row, "mask_uri": str(tmp_path / "absent.png")})
        if row["image_id"] == "splice1-6"
        else ManifestRow(**row)
        for row in pq.read_table(archive / "truth.parquet").to_pylist()
    ]
    write_manifest(rows, str(tmp_path / "truth.parquet"))
    study = locate(archive, strategies=("sw-ss",), decisions=("threshold",))
    settings = {"localization": study, "truth": str(tmp_path / "truth.parquet")}
    assert evaluate(job(archive, tmp_path, **settings)) == INCOMPLETE
    printed = capsys.readouterr().out
    assert "failed 1, not_applicable 1, ok 5" in printed
    assert f"1 x mask {tmp_path / 'absent.png'}" in printed


def die(*_: object) -> None:
    os._exit(7)


def test_an_image_that_kills_its_worker_has_its_rows(archive: Path, tmp_path: Path) -> None:
    study = locate(archive)
    kind = replace(studies._kind(study, job(archive, tmp_path)), evaluate_image=die)
    pool = Pool(workers=1, cpus_per_worker=1.0, gpus_per_worker=0.0)
    [table] = studies._examined([ManifestRow("x", "x.png")], kind, pool)
    found = table.to_pylist()
    assert [(r["image_id"], r["status"], r["strategy"]) for r in found] == [
        ("x", "failed", "sw-ss"),
        ("x", "failed", "s-slic"),
    ]
    assert "WorkerCrashedError" in found[0]["reason"]


def test_models_that_change_meanwhile_are_refused(archive: Path, tmp_path: Path) -> None:
    study = locate(archive, strategies=("sw-ss",))
    kind = studies._kind(study, job(archive, tmp_path))
    tools = studies.Cameras(study.camera_models, "another digest")
    found = studies._evaluate_image(
        ManifestRow("x", "x.png"), kind.evaluate_image, kind.abstain, tools, "cpu"
    )
    assert "changed while they were in use" in found["reason"].to_pylist()[0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (lambda study: {}, "exactly one of run, prediction, localization, trufor, manip"),
        (lambda study: {"run": "r", "localization": study}, "run and localization are given"),
        (lambda study: {"localization": study, "truth": None}, "a study needs truth"),
        (lambda study: {"localization": study, "output": None}, "a study needs truth"),
    ],
)
def test_what_is_not_one_evaluation_is_refused(
    archive: Path,
    tmp_path: Path,
    settings: Callable[[LocalizationStudy], dict[str, Any]],
    message: str,
) -> None:
    with pytest.raises(UserError, match=message):
        evaluate(job(archive, tmp_path, **settings(locate(archive))))
    assert not list(tmp_path.iterdir())


def test_no_images_and_no_models_are_refused(archive: Path, tmp_path: Path) -> None:
    write_manifest([], str(tmp_path / "empty.parquet"))
    empty = job(archive, tmp_path, localization=locate(archive))
    with pytest.raises(UserError, match="names no image"):
        evaluate(empty.model_copy(update={"truth": str(tmp_path / "empty.parquet")}))
    (tmp_path / "none").mkdir()
    nothing = locate(archive, camera_models=str(tmp_path / "none"))
    with pytest.raises(UserError, match="no camera models"):
        evaluate(job(archive, tmp_path, localization=nothing))


def test_a_study_is_set_on_the_command_line() -> None:
    words = ["--localization.camera_models", "m", "--localization.jpeg_qualities", "null,90"]
    words += ["--localization.strategies", "m-slic", "--localization.retrained", "false,true"]
    study = load(EvaluateJob, None, words).localization
    assert study is not None
    assert (study.jpeg_qualities, study.retrained) == ((None, 90), (False, True))
    with pytest.raises(UserError, match=r"--localization\.strategy; did you mean"):
        load(EvaluateJob, None, ["--localization.strategy", "m-slic"])
    assert TrackingSettings() == load(EvaluateJob, None, []).tracking
