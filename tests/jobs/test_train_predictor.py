"""Training of predictors: all cameras in one go, what is said of it, kills, faults, bad input."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import ray
import torch
from mlflow import MlflowClient

from forensics import storage
from forensics.config import load
from forensics.prnu.block_sampling import sample_blocks
from forensics.prnu.camera_model import UsedImage
from forensics.prnu.library import CameraLibrary
from forensics.prnu.predictors import CNNPredictor, LSEPredictor
from forensics.prnu.predictors.network import CNNSettings
from forensics.records import ManifestRow, UserError
from forensics.synth.camera import SimulatedCamera
from forensics.train.predictor.regression import TrainingSettings
from jobs.cameras import write_model
from jobs.entry import INCOMPLETE, OK
from jobs.predictor_training.loop import train_loop
from jobs.predictor_training.plan import plan, spread
from jobs.train_predictor import TrainPredictorJob, train_predictor
from jobs.training.run import Workers, run_training
from tests.jobs import trainings
from tests.jobs.photos import manifest_of, put_bytes
from tests.jobs.runs import start
from tests.jobs.test_camera_model import model, photos, put_model
from tests.jobs.trainings import words
from tests.patience import PATIENCE_SECONDS
from tests.prnu.cameras import HEIGHT, WIDTH, fingerprint_model, photo, used
from tests.s3server import S3Server

pytestmark = pytest.mark.ray

Captured = pytest.CaptureFixture[str]

WINDOW = 64
TINY: dict[str, Any] = {
    "window": WINDOW,
    "blocks_per_image": 24,
    "network.widths": [2, 2, 2, 2, 2, 2],
    "network.hidden": 4,
    "training.epochs": 4,
    "training.batch": 8,
    "training.lr": 0.001,
    "pool.workers": 2,
}


def given(folder: Path, manifest: str, store: str, **changes: Any) -> dict[str, Any]:
    return {
        "manifest": manifest,
        "models": str(folder / "models"),
        "tracking.uri": store,
        "tracking.experiment": folder.name,
        **TINY,
        **changes,
    }


def settings(*arguments: Any, **changes: Any) -> TrainPredictorJob:
    return load(TrainPredictorJob, None, words(given(*arguments, **changes)))


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Two cameras with their fingerprints and photos; a manifest of all photos."""
    folder = tmp_path_factory.mktemp("case")
    for seed in (1, 2):
        put_model(folder, fingerprint_model(seed))
    rows = photos(folder, 1, range(3)) + photos(folder, 2, range(3))
    return folder, manifest_of(folder, rows)


@pytest.fixture
def fresh(case: tuple[Path, str], tmp_path: Path) -> tuple[Path, str]:
    """A folder with the models as they were before any training; the same manifest."""
    for seed in (1, 2):
        put_model(tmp_path, fingerprint_model(seed))
    return tmp_path, case[1]


@pytest.fixture(scope="module")
def trained(ray_local: None, case: tuple[Path, str], store: str) -> Path:
    """Folder of two cameras whose networks are trained."""
    folder, manifest = case
    assert train_predictor(settings(folder, manifest, store)) == OK
    return folder


def test_all_cameras_are_trained_in_one_go(trained: Path, store: str) -> None:
    for seed in (1, 2):
        found = model(trained, f"camera{seed}")
        [window] = found.windows
        assert (window.window, window.predictor.name, window.jpeg_quality) == (WINDOW, "cnn", None)
        assert (window.blocks, window.images, window.image_gain) == (72, 3, True)
        assert window.sigma0 == pytest.approx(1 / WINDOW, rel=0.5)
        assert 0 < window.sigma1 < 0.2
        assert [image.image_id for image in found.training] == [f"{seed}-{n}" for n in range(3)]
        assert found.fingerprint.equal(fingerprint_model(seed).fingerprint)
        assert isinstance(window.predictor, CNNPredictor)
        weights = window.predictor.state()
        assert any(bool(weights[name].any()) for name in weights if "output.weight" in name)
    assert not (trained / "models" / ".training").exists()  # checkpoints are gone

    [run] = trainings.logged(store, trained)
    assert run.info.status == "FINISHED"
    metrics = run.data.metrics
    window = model(trained, "camera2").window(WINDOW)
    assert metrics["camera2-cnn-64.sigma1"] == window.sigma1
    assert metrics["camera2-cnn-64.mse"] == pytest.approx(window.sigma1**2)
    course = MlflowClient(store).get_metric_history(
        run.info.run_id, "camera1-cnn-64.validation_mse"
    )
    assert [metric.step for metric in course] == [1, 2, 3, 4]
    assert all(metric.value > 0 for metric in course)
    assert trainings.artifacts_of(run) == {
        "predictors.json",
        "adjusted_r2.png",
        "scatter/camera1-cnn-64.png",
        "scatter/camera2-cnn-64.png",
    }
    artifacts = Path(run.info.artifact_uri.removeprefix("file://"))
    results = json.loads((artifacts / "predictors.json").read_text())
    assert [result["camera_id"] for result in results] == ["camera1", "camera2"]


def test_the_registered_model_predicts_as_the_predictor_does(
    trained: Path, store: str, tmp_path: Path
) -> None:
    [version] = MlflowClient(store).search_model_versions("name = 'prnu-camera1-cnn-64'")
    assert version.tags["camera_id"] == "camera1"
    blocks = np.random.default_rng(0).integers(0, 256, (5, WINDOW, WINDOW, 3), dtype=np.uint8)
    [rho_hat] = trainings.said(store, tmp_path, blocks, version.name).values()
    assert rho_hat.dtype == np.float32
    expected = model(trained, "camera1").window(WINDOW).predictor.predict(blocks)
    np.testing.assert_array_equal(rho_hat, expected)
    assert mlflow.active_run() is None


@pytest.mark.faults
def test_a_killed_job_continues_at_the_next_epoch(
    trained: Path, fresh: tuple[Path, str], store: str
) -> None:
    folder, manifest = fresh
    values = {"cameras": "camera1"}
    arguments = words(given(folder, manifest, store, **values))
    work = folder / "models" / ".training"
    done = trainings.kill_after_an_epoch("jobs.train_predictor", arguments, work, "camera1-cnn-64")
    assert model(folder, "camera1").windows == ()
    assert 1 <= done < 4
    out = trainings.printed(lambda: train_predictor(settings(folder, manifest, store, **values)))
    assert "epoch 4/4" in out
    assert f"epoch {done}/4" not in out
    # the same, bit for bit, as the training that was never interrupted
    assert model(folder, "camera1").digest == model(trained, "camera1").digest
    assert not work.exists()
    [run] = trainings.logged(store, folder)
    assert run.info.status == "FINISHED"
    assert sorted(trainings.steps(store, run, "camera1-cnn-64.train_mse")) == [1, 2, 3, 4]


@pytest.mark.s3
@pytest.mark.slow
def test_models_and_checkpoints_on_s3(
    s3_server: S3Server, trained: Path, case: tuple[Path, str], tmp_path: Path, store: str
) -> None:
    models = s3_server.uri(f"training/{tmp_path.name}")
    write_model(f"{models}/camera1", fingerprint_model(1))
    values = {"manifest": case[1], "models": models, "tracking.uri": store, "cameras": "camera1"}
    process = start("jobs.train_predictor", *words({**values, **TINY}))
    out, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == OK, out
    found = CameraLibrary(models).model("camera1")
    assert found.digest == model(trained, "camera1").digest
    assert not [entry.name for entry in storage.list(models) if ".training" in entry.name]


def blocks_of(count: int) -> list[Any]:
    return [
        sample_blocks(
            fingerprint_model(1), used(f"1-{n}"), photo(1, n), window=WINDOW, count=20
        ).blocks
        for n in range(count)
    ]


def fails_once(config: dict[str, Any]) -> Any:
    """The loop, whose first worker fails after the second epoch unless it did so before."""
    marker, said = Path(config["marker"]), ray.train.report
    if marker.exists():
        return train_loop(config)

    def report(metrics: dict[str, Any], checkpoint: Any = None) -> None:
        said(metrics, checkpoint=checkpoint)
        if metrics["number"] == 2 and ray.train.get_context().get_world_rank() == 0:
            marker.touch()
            raise ConnectionError("the worker lost its node")

    ray.train.report = report
    return train_loop(config)


def fails(config: dict[str, Any]) -> Any:
    raise ConnectionError("no node will have me")


def run(folder: Path, loop: Any, workers: int, retries: int) -> tuple[Any, list[int]]:
    images = blocks_of(3)
    config = {
        "blocks": [ray.put(image) for image in images],
        "gains": [0.8, 1.0, 1.2],
        "window": WINDOW,
        "network": CNNSettings(widths=(2, 2, 2, 2, 2, 2), hidden=4).model_dump_json(),
        "training": TrainingSettings(epochs=3, batch=7, lr=1e-3).model_dump_json(),
        "marker": str(folder / "failed"),
    }
    epochs: list[int] = []
    result = run_training(
        loop,
        config,
        folder=str(folder / "work"),
        name="one",
        workers=Workers(workers, 1, 0),
        retries=retries,
        on_epoch=lambda epoch: epochs.append(epoch["number"]),
    )
    return result, epochs


@pytest.mark.faults
def test_two_workers_of_which_one_fails_give_what_one_gives(
    ray_local: None, tmp_path: Path
) -> None:
    result, epochs = run(tmp_path, fails_once, workers=2, retries=1)
    assert (tmp_path / "failed").exists()
    assert epochs == [1, 2, 3]  # none of them twice
    images = [
        replace(image, gain=gain) for image, gain in zip(blocks_of(3), (0.8, 1, 1.2), strict=True)
    ]
    shape = CNNSettings(widths=(2, 2, 2, 2, 2, 2), hidden=4)
    alone = CNNPredictor(shape, TrainingSettings(epochs=3, batch=7, lr=1e-3))
    expected = alone.fit_images(images, WINDOW).state()
    assert result["state"].keys() == expected.keys()
    for name, value in result["state"].items():
        torch.testing.assert_close(torch.tensor(value), expected[name], rtol=1e-3, atol=1e-5)
    [(rho, rho_hat)] = result["validation"]
    assert len(rho) == len(rho_hat) == 20
    assert [epoch["number"] for epoch in result["history"]] == [1, 2, 3]


@pytest.mark.faults
def test_a_worker_that_fails_again_and_again_ends_the_training(
    ray_local: None, tmp_path: Path
) -> None:
    with pytest.raises(RuntimeError, match="ConnectionError: no node will have me"):
        run(tmp_path, fails, workers=1, retries=0)


def test_features_per_quality(
    ray_local: None, fresh: tuple[Path, str], store: str, capsys: Captured
) -> None:
    folder, manifest = fresh
    job = settings(
        folder, manifest, store, predictor="lse", jpeg_qualities="90,70", cameras="camera2"
    )
    assert train_predictor(job) == OK
    out = capsys.readouterr().out
    assert "camera2-lse-q90: 3 photos, 0 not used" in out
    assert "camera2-lse-q70: 3 photos" in out
    found = model(folder, "camera2")
    kinds = {(w.window, w.jpeg_quality) for w in found.windows}
    assert {(128, 90), (128, 70), (64, 90), (64, 70)} <= kinds
    assert {quality for _, quality in kinds} == {90, 70}
    assert isinstance(found.window(128, 70).predictor, LSEPredictor)
    assert found.window(128, 70).sigma1 != found.window(128, 90).sigma1
    assert model(folder, "camera1").windows == ()
    [run] = trainings.logged(store, folder)
    artifacts = Path(run.info.artifact_uri.removeprefix("file://"))
    scatters = {path.name for path in (artifacts / "scatter").iterdir()}
    assert scatters == {"camera2-lse-128-q90.png", "camera2-lse-128-q70.png"}
    assert run.data.metrics["camera2-lse-128-q70.sigma1"] == found.window(128, 70).sigma1
    assert MlflowClient(store).search_model_versions("name = 'prnu-camera2-lse-128-q70'")


@pytest.mark.slow
def test_a_mixture_of_qualities_beside_other_predictors(
    ray_local: None, fresh: tuple[Path, str], store: str, capsys: Captured
) -> None:
    folder, manifest = fresh
    common = {"cameras": "camera1"}
    assert train_predictor(settings(folder, manifest, store, predictor="lse", **common)) == OK
    before = model(folder, "camera1")
    job = settings(
        folder,
        manifest,
        store,
        jpeg_qualities="95,60",
        mixed=True,
        image_gain=False,
        **common,
        **{"training.epochs": 1},
    )
    assert train_predictor(job) == OK
    assert "camera1-cnn-64-mixed: 3 photos" in capsys.readouterr().out
    after = model(folder, "camera1")
    [mixed] = [w for w in after.windows if w.predictor.name == "cnn"]
    assert (mixed.jpeg_quality, mixed.images, mixed.blocks) == (None, 3, 3 * 2 * 12)
    assert not mixed.image_gain
    assert len(after.windows) == len(before.windows) + 1
    assert after.training == before.training
    assert after.fingerprint.equal(before.fingerprint)
    lse = [w.sigma1 for w in after.windows if w.predictor.name == "lse"]
    assert lse == [w.sigma1 for w in before.windows]


def test_photos_that_cannot_be_used_are_named(
    ray_local: None, tmp_path: Path, store: str, capsys: Captured
) -> None:
    rows = photos(tmp_path, 1, range(2))
    part = fingerprint_model(1)
    inside = UsedImage(rows[1].image_id, str(rows[1].sha256), int(rows[1].size or 0))
    put_model(tmp_path, replace(part, reference=(*part.reference, inside)))
    digest = model(tmp_path, "camera1").digest
    twice = put_bytes(tmp_path, "1-twice", "camera1", Path(rows[0].uri).read_bytes())
    other = SimulatedCamera(seed=1, height=HEIGHT, width=WIDTH - 32)
    odd = put_bytes(tmp_path, "1-odd", "camera1", other.encode(other.natural(9)))
    gone = ManifestRow("1-gone", str(tmp_path / "gone.jpg"), camera_id="camera1")
    broken = put_bytes(tmp_path, "1-broken", "camera1", b"no image")
    white = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
    blank = put_bytes(tmp_path, "1-white", "camera1", other.encode(white))
    manifest = manifest_of(tmp_path, [*rows, twice, odd, gone, broken, blank])
    assert train_predictor(settings(tmp_path, manifest, store)) == INCOMPLETE
    out = capsys.readouterr().out
    assert "camera1-cnn-64: 0 photos, 6 not used" in out
    assert "1 photos can be used, at least 2 are needed" in out
    assert "1-1: its noise is part of the fingerprint" in out
    assert "1-twice: same file as 1-0" in out
    assert f"1-odd: 1-odd has {WIDTH - 32}x{HEIGHT} pixels, the fingerprint of camera1" in out
    assert "gone.jpg" in out
    assert "1-broken: " in out
    assert "1-white: every block of it is constant or saturated" in out
    assert model(tmp_path, "camera1").digest == digest
    [run] = trainings.logged(store, tmp_path)
    assert run.info.status == "FINISHED"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"window": 61}, "a window of 61 px does not fit"),
        ({"mixed": True}, "mixed needs the cnn, and two jpeg_qualities"),
        ({"jpeg_qualities": "101"}, "less than or equal to 100"),
        ({"cameras": "camera9"}, "no images of camera9; it has those of camera1, camera2"),
        ({"workers_per_training": 40}, r"workers_per_training 40 needs 41 CPUs"),
    ],
)
def test_bad_settings_are_refused(
    ray_local: None, fresh: tuple[Path, str], store: str, changes: dict[str, Any], message: str
) -> None:
    folder, manifest = fresh
    with pytest.raises(UserError, match=message):
        train_predictor(settings(folder, manifest, store, **changes))


def test_a_camera_without_a_fingerprint_is_refused(
    case: tuple[Path, str], tmp_path: Path, store: str
) -> None:
    put_model(tmp_path, fingerprint_model(1))
    with pytest.raises(UserError, match=r"no fingerprint of camera2; run jobs\.fingerprint"):
        train_predictor(settings(tmp_path, case[1], store))
    assert MlflowClient(store).get_experiment_by_name(tmp_path.name) is None


def test_one_training_per_camera_and_quality() -> None:
    rows = {
        name: [ManifestRow(f"{name}{n}", "", camera_id=name) for n in range(9)] for name in "ab"
    }
    each = plan(rows, "cnn", 128, (75, 90, 75), False, 3)
    assert [t.name for t in each] == [
        "a-cnn-128-q90",
        "a-cnn-128-q75",
        "b-cnn-128-q90",
        "b-cnn-128-q75",
    ]
    assert [t.jpeg_quality for t in each] == [90, 75, 90, 75]
    mixed = plan(rows, "cnn", 128, (75, 90), True, 3)
    assert [(t.name, t.qualities, t.jpeg_quality) for t in mixed] == [
        ("a-cnn-128-mixed", (90, 75), None),
        ("b-cnn-128-mixed", (90, 75), None),
    ]
    plain = plan(rows, "ffn", None, (), False, 3)
    assert [(t.name, t.qualities) for t in plain] == [("a-ffn", (None,)), ("b-ffn", (None,))]
    assert [row.image_id for row in plain[0].rows] == ["a0", "a3", "a6"]
    assert spread(rows["a"], 20) == rows["a"]
