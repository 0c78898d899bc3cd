"""Training of manipulation networks as a job: tasks, kills, MLflow, scans by what was trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mlflow import MlflowClient

from forensics.config import load
from forensics.detectors import Resources, Subject
from forensics.manipulation import weights
from forensics.manipulation.detector import ManipulationDetector, ManipulationSettings
from forensics.records import Image, ManifestRow, UserError
from forensics.synth.camera import SimulatedCamera
from jobs.train_manipulation import TrainManipulationJob, train_manipulation
from tests.jobs import trainings
from tests.jobs.photos import camera_photos, manifest_of, put_bytes
from tests.jobs.shipped import CONFIGS
from tests.jobs.trainings import words
from tests.manipulation.textures import texture

pytestmark = pytest.mark.ray

SHIPPED = CONFIGS["train_manipulation_cpu"]
SMALL: dict[str, Any] = {
    "tasks": "all,noise-2",
    "manipulations": "blur-0.75,noise-2,resize-1.5",
    "window": 40,
    "patches_per_photo": 6,
    "patches": 20,
    "training.epochs": 3,
    "pool.workers": 2,
}
FILES = ("residual-4", "residual-noise-2")


def settings(folder: Path, manifest: str, store: str, **more: Any) -> list[str]:
    tracking = {"tracking.uri": store, "tracking.experiment": folder.name}
    values = {"manifest": manifest, "output": folder / "out", **tracking, **SMALL, **more}
    return words(values)


def train(*arguments: Any, **more: Any) -> int:
    return train_manipulation(load(TrainManipulationJob, SHIPPED, settings(*arguments, **more)))


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Photos of three cameras, a forged one and one that is none."""
    folder = tmp_path_factory.mktemp("photos")
    rows = camera_photos(folder, cameras=3, each=2)
    rows += [
        ManifestRow("forged", rows[0].uri, camera_id="camera1", label="forged"),
        ManifestRow("gone", str(folder / "gone.jpg"), source="elsewhere"),
    ]
    return manifest_of(folder, rows)


@pytest.fixture(scope="module")
def trained(
    ray_local: None, manifest: str, tmp_path_factory: pytest.TempPathFactory, store: str
) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    (folder / "printed.txt").write_text(trainings.printed(lambda: train(folder, manifest, store)))
    return folder


def card(folder: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "out" / f"{name}.json").read_text())
    return found


def test_each_task_gets_its_network_and_card(trained: Path) -> None:
    assert {path.name for path in (trained / "out").iterdir()} == {
        f"{name}.{kind}" for name in FILES for kind in ("safetensors", "json")
    }
    several, binary = (card(trained, name) for name in FILES)
    assert several["classes"] == ["pristine", "blur-0.75", "noise-2", "resize-1.5"]
    assert binary["classes"] == ["pristine", "noise-2"]
    assert binary["devices"] == ["camera1", "camera2", "camera3"]
    assert len(binary["tested_on"]) == 1
    assert binary["by_device"].keys() == set(binary["tested_on"])
    assert several["training_patches"] == 4 * 20
    assert binary["training_patches"] == 2 * 20
    assert (several["test_patches"], binary["test_patches"]) == (4 * 2 * 6, 2 * 2 * 6)
    recalls = [several[f"recall.{name}"] for name in several["classes"]]
    assert several["accuracy"] == pytest.approx(np.mean(recalls))
    assert binary["accuracy"] >= 0.75


def test_a_scan_takes_what_was_trained(trained: Path) -> None:
    chosen = ManipulationSettings(weights=str(trained / "out" / "residual-4.safetensors"))
    detector = ManipulationDetector(chosen, Resources(torch.device("cpu")))
    pixels = np.repeat(texture(90, 100)[..., None], 3, axis=2)
    finding = detector.examine(Subject(ManifestRow("a", "a.png"), Image(pixels, "PNG")))
    assert {found["label"] for found in finding.values["classes"]} == set(
        card(trained, "residual-4")["classes"]
    )
    assert detector.identity()["weights"] == card(trained, "residual-4")["sha256"]


def test_course_and_confusions_are_in_mlflow(trained: Path, store: str) -> None:
    [run] = trainings.logged(store, trained)
    assert run.info.status == "FINISHED"
    for name in FILES:
        assert trainings.steps(store, run, f"{name}.train_loss") == [1, 2, 3]
        accuracy = run.data.metrics[f"{name}.accuracy"]
        assert accuracy == pytest.approx(card(trained, name)["accuracy"])
        assert MlflowClient(store).search_model_versions(f"name = '{name}'")
    assert trainings.artifacts_of(run) == {
        file for name in FILES for file in (f"{name}.json", f"{name}-confusion.png")
    }


def test_the_registered_network_says_what_the_file_says(
    trained: Path, store: str, tmp_path: Path
) -> None:
    patches = texture(3, 40, 40)
    [probabilities] = trainings.said(store, tmp_path, patches, FILES[0]).values()
    network = weights.load(str(trained / "out" / "residual-4.safetensors")).network
    with torch.inference_mode():
        expected = network(torch.from_numpy(patches)).softmax(1).numpy()
    # Pixels between two codewords make much of the last bit, which threads add up in other orders.
    np.testing.assert_allclose(probabilities, expected, atol=1e-3)


@pytest.mark.faults
def test_a_killed_job_continues_where_it_was(
    trained: Path, manifest: str, tmp_path: Path, store: str
) -> None:
    """Killed in the second task: the first is not made again, the second ends the same."""
    arguments = ["--config", str(SHIPPED), *settings(tmp_path, manifest, store)]
    work = tmp_path / "out" / ".training"
    done = trainings.kill_after_an_epoch("jobs.train_manipulation", arguments, work, FILES[1])
    first = (tmp_path / "out" / f"{FILES[0]}.safetensors").stat().st_mtime_ns
    assert not (tmp_path / "out" / f"{FILES[1]}.safetensors").exists()
    out = trainings.printed(lambda: train(tmp_path, manifest, store))
    assert f"{FILES[0]}: trained before this job was interrupted" in out
    assert f"{FILES[1]}: epoch {done}/3" not in out
    assert (tmp_path / "out" / f"{FILES[0]}.safetensors").stat().st_mtime_ns == first
    for name in FILES:
        one, other = (f / "out" / f"{name}.safetensors" for f in (tmp_path, trained))
        assert one.read_bytes() == other.read_bytes()
    assert not work.exists()


def test_photos_that_cannot_be_used_are_named(trained: Path) -> None:
    out = (trained / "printed.txt").read_text()
    assert "forged: not used, it is forged" in out
    assert "gone: not used, " in out


def test_what_cannot_be_trained_is_refused(ray_local: None, tmp_path: Path, store: str) -> None:
    camera = SimulatedCamera(1, 120, 160)
    data = [camera.encode(camera.natural(n)) for n in range(2)]
    one = [put_bytes(tmp_path, f"{n}", "one", data[n]) for n in range(2)]
    with pytest.raises(UserError, match="photos of 1 device cannot be split"):
        train(tmp_path, manifest_of(tmp_path, one), store)
    nobody = [put_bytes(tmp_path, f"n{n}", None, data[n]) for n in range(2)]
    with pytest.raises(UserError, match="photos of 1 device cannot be split"):
        train(tmp_path, manifest_of(tmp_path, nobody), store)
    with pytest.raises(UserError, match="'sharpen-2' is no manipulation"):
        train(tmp_path, "m.parquet", store, tasks="sharpen-2")
    with pytest.raises(UserError, match="'all' is no manipulation"):
        train(tmp_path, "m.parquet", store, manipulations="all")
