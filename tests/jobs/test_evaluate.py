"""The evaluation job on committed runs, with a real Ray and a real MLflow."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient

from forensics.config import load
from forensics.evaluate.scan import RECORDS
from forensics.manifest import write_manifest
from forensics.records import Finding, ManifestRow, Status, UserError
from jobs.cluster import PoolSettings
from jobs.entry import INCOMPLETE, OK, REFUSED
from jobs.evaluate import evaluate
from jobs.evaluation.settings import EvaluateJob
from tests.conftest import ROOT
from tests.evaluate.runs import answer, by_image, cells, commit_run, pixels, write_mask

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_local")]

FORGED = cells((0, 0), (2, 3))


@pytest.fixture
def answers(tmp_path):
    """Ten images in three shards: every case that an evaluation meets."""
    uri = write_mask(tmp_path / "masks" / "mask.png", pixels(FORGED))

    def forged(name, kind="splice", mask=uri):
        row = ManifestRow(name, f"{name}.jpg", label="forged", mask_uri=mask, source=kind)
        return replace(row, camera_id="C")

    def pristine(name):
        return ManifestRow(name, f"{name}.jpg", label="pristine", camera_id="D")

    half = cells((0, 0), (0, 1))  # F1 of 128/208
    return [
        (forged("perfect"), answer(FORGED, FORGED, 0.9)),
        (forged("inverted"), answer(~FORGED, ~FORGED, 0.8)),
        (forged("half", "copy-move"), answer(half, half, 0.7)),
        (forged("abstained"), Finding(Status.NOT_APPLICABLE, "no fingerprint")),
        (forged("unmasked", mask=None), answer(FORGED, FORGED, 0.2)),
        (forged("broken"), None),
        (pristine("quiet"), answer(cells(), cells(), 0.1)),
        (pristine("alarm"), answer(cells((2, 3)), cells((2, 3)), 0.6)),
        (replace(pristine("odd"), label="suspicious"), answer(FORGED, FORGED, 1.0)),
        (ManifestRow("unlabelled", "u.jpg"), answer(FORGED, FORGED, 1.0)),
    ]


def job(tmp_path, **settings):
    return EvaluateJob(run=str(tmp_path / "run"), pool=PoolSettings(workers=2), **settings)


def outputs(folder):
    records = pq.read_table(folder / "images.parquet")
    assert records.schema.equals(RECORDS)
    return records, json.loads((folder / "summary.json").read_text())


def logged(tmp_path):
    """The one MLflow run beside the run's folder, and its artifacts."""
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("forensics/evaluate")
    (run,) = client.search_runs([experiment.experiment_id])
    folder = Path(run.info.artifact_uri.removeprefix("file://"))
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    return run, folder, names


def test_every_image_has_its_record_and_the_summary_its_numbers(tmp_path, answers, capsys):
    commit_run(tmp_path, answers)
    assert evaluate(job(tmp_path)) == OK

    records, summary = outputs(tmp_path / "run" / "evaluation")
    found = by_image(records)
    assert list(found) == [row.image_id for row, _ in answers]
    assert found["perfect"]["f1_best"] == found["perfect"]["f1_decision"] == 1
    assert found["inverted"]["f1_decision"] == 0
    assert found["half"]["f1_decision"] == 128 / 208
    assert found["alarm"]["false_alarm_area"] == 16 / 560
    assert found["abstained"]["reason"] == "no fingerprint"
    assert found["broken"]["status"] == "unreadable"
    assert found["unmasked"]["f1_best"] is None

    assert summary["shards"] == {"evaluated": 3, "of": 3}
    assert summary["labels"] == {"(not given)": 1, "forged": 6, "pristine": 2, "suspicious": 1}
    saboteur = summary["detectors"]["saboteur"]
    best = [1.0, 160 / 640, 128 / 208]
    decided = [1.0, 0.0, 128 / 208]
    assert saboteur["pixel"]["f1_best"]["n"] == 3
    assert saboteur["pixel"]["f1_best"]["mean"] == pytest.approx(np.mean(best))
    assert saboteur["pixel"]["f1_decision"]["mean"] == pytest.approx(np.mean(decided))
    assert saboteur["pixel"]["f1_decision"]["source"]["copy-move"] == {"n": 1, "mean": 128 / 208}
    assert saboteur["image"]["auc"] == 7 / 8  # 0.2 is below the alarm's 0.6
    assert saboteur["false_alarm_area"]["max"] == 16 / 560
    assert saboteur["abstention_rate"] == pytest.approx(1 / 9)

    run, folder, names = logged(tmp_path)
    metrics = run.data.metrics
    assert run.info.status == "FINISHED"
    assert run.data.params["border"] == "count"
    assert metrics["saboteur.f1_best.mean"] == pytest.approx(np.mean(best))
    assert metrics["saboteur.f1_best.splice"] == pytest.approx((1 + 160 / 640) / 2)
    assert metrics["saboteur.f1_best.camera.C"] == metrics["saboteur.f1_best.mean"]
    assert metrics["saboteur.auc"] == 7 / 8
    assert metrics["saboteur.false_alarm_area.mean"] == pytest.approx(8 / 560)
    figures = {"f1_curve.png", "roc.png", "saboteur/f1_best.png", "saboteur/scores.png"}
    assert names == figures | {"summary.json", "pixels.json"}
    assert json.loads((folder / "summary.json").read_text()) == summary
    columns = json.loads((folder / "pixels.json").read_text())["columns"]
    assert columns[:4] == ["detector", "images", "n", "f1_best"]

    printed = capsys.readouterr().out
    assert "10 images ((not given) 1, forged 6, pristine 2, suspicious 1), 3 of 3 shards" in printed
    assert "kind copy-move     1        0.615        0.615" in printed
    assert "at most 2.86% (alarm)" in printed


def test_truth_from_elsewhere_is_joined_and_what_the_run_lacks_is_named(tmp_path, answers, capsys):
    bare = [(ManifestRow(row.image_id, row.uri), finding) for row, finding in answers]
    commit_run(tmp_path, bare)
    assert evaluate(job(tmp_path)) == OK
    assert "no image is labelled" in capsys.readouterr().out

    rows = [row for row, _ in answers] + [ManifestRow("never-scanned", "n.jpg", label="forged")]
    truth = str(tmp_path / "truth.parquet")
    write_manifest(rows[::-1], truth)
    output = tmp_path / "elsewhere"
    assert evaluate(job(tmp_path, truth=truth, output=str(output))) == INCOMPLETE
    records, summary = outputs(output)
    assert by_image(records)["half"]["f1_decision"] == 128 / 208
    assert summary["truth"] == {"uri": truth, "rows": 11, "not_in_run": 1}
    assert "1 rows of the truth are not in the run: never-scanned" in capsys.readouterr().out


def test_bad_truth_is_refused(tmp_path, answers):
    commit_run(tmp_path, answers)
    truth = str(tmp_path / "truth.parquet")
    twice = [ManifestRow(name, "x.jpg") for name in ("perfect", "half", "half", "perfect", "odd")]
    write_manifest(twice, truth)
    with pytest.raises(UserError, match="2 occur more than once: perfect, half"):
        evaluate(job(tmp_path, truth=truth))
    write_manifest([ManifestRow("masks/perfect.jpg", "x.jpg", label="forged")], truth)
    with pytest.raises(UserError, match=r"truth has masks/perfect\.jpg, the run perfect, inverted"):
        evaluate(job(tmp_path, truth=truth))
    assert not (tmp_path / "run" / "evaluation").exists()


def test_a_run_in_progress_is_evaluated_as_far_as_it_is(tmp_path, answers, capsys):
    commit_run(tmp_path, answers, shards=[0, 2])
    assert evaluate(job(tmp_path)) == INCOMPLETE
    records, summary = outputs(tmp_path / "run" / "evaluation")
    assert records["image_id"].to_pylist() == [
        row.image_id for n, (row, _) in enumerate(answers) if n // 4 in (0, 2)
    ]
    assert summary["shards"] == {"evaluated": 2, "of": 3}
    assert "2 of 3 shards" in capsys.readouterr().out


def test_no_run_and_no_finished_shard_are_refused(tmp_path, answers):
    with pytest.raises(UserError, match="holds no run"):
        evaluate(job(tmp_path))
    commit_run(tmp_path, answers, shards=[])
    with pytest.raises(UserError, match="no finished shard yet"):
        evaluate(job(tmp_path))


def test_a_damaged_shard_is_named(tmp_path, answers):
    run = commit_run(tmp_path, answers)
    path = Path(run.maps_uri(1))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match=r"maps/shard-00000001\.parquet is damaged"):
        evaluate(job(tmp_path))
    assert not (tmp_path / "run" / "evaluation").exists()
    assert logged(tmp_path)[0].info.status == "FAILED"


def test_a_bad_mask_costs_its_own_image_and_sets_the_exit_code(tmp_path, answers, capsys):
    bad = str(tmp_path / "absent.png")
    answers[0] = (replace(answers[0][0], mask_uri=bad), answers[0][1])
    commit_run(tmp_path, answers)
    assert evaluate(job(tmp_path)) == INCOMPLETE
    _, summary = outputs(tmp_path / "run" / "evaluation")
    assert summary["problems"]["count"] == 1
    assert summary["detectors"]["saboteur"]["pixel"]["f1_best"]["n"] == 2
    printed = capsys.readouterr().out
    assert "1 could not be compared:" in printed
    assert f"perfect (saboteur): mask {bad}" in printed


def test_evaluating_again_gives_the_same_bytes(tmp_path, answers):
    commit_run(tmp_path, answers, shard_rows=1)
    folder = tmp_path / "run" / "evaluation"
    contents = []
    for _ in range(2):
        evaluate(job(tmp_path))
        contents.append(
            [(folder / name).read_bytes() for name in ("images.parquet", "summary.json")]
        )
    assert contents[0] == contents[1]


def test_the_command_refuses_with_one_line(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "jobs.evaluate", "--run", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == REFUSED
    assert done.stderr == f"error: {tmp_path} holds no run (there is no run.json in it)\n"


def test_the_shipped_settings_are_valid(tmp_path):
    shipped = ROOT / "configs" / "evaluate.yaml"
    settings = load(EvaluateJob, shipped, ["--run", str(tmp_path)])
    assert (settings.run, settings.border) == (str(tmp_path), "count")
