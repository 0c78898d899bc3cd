"""The training of origin networks end to end, with a real Ray and a real MLflow."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mlflow import MlflowClient

from forensics.config import load
from forensics.manifest import read
from forensics.origin import weights
from forensics.origin.judge import predictor
from forensics.records import ManifestRow, UserError
from forensics.scan import Scanner, ScanSettings
from jobs.entry import OK
from jobs.train_origin import TrainOriginJob, train_origin
from tests.conftest import ROOT
from tests.jobs.origin_images import SMALL, origin_manifest
from tests.jobs.photos import manifest_of
from tests.jobs.runs import start
from tests.origin.networks import CLASSES
from tests.origin.test_network import published, saved

pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]


def settings(folder: Path, manifest: str, store: str, **more: Any) -> list[str]:
    given = {
        "manifest": manifest,
        "output": folder / "out",
        "folds": 2,
        "tracking.uri": store,
        "tracking.experiment": folder.name,
        "pool.workers": 2,
        **SMALL,
        **more,
    }
    return [word for name, value in given.items() for word in (f"--{name}", str(value))]


def train(*arguments: Any, **more: Any) -> int:
    return train_origin(load(TrainOriginJob, None, settings(*arguments, **more)))


@pytest.fixture(scope="module")
def trained(ray_local: None, tmp_path_factory: pytest.TempPathFactory, store: str) -> Path:
    """Folder of a manifest and the network trained on it."""
    folder = tmp_path_factory.mktemp("case")
    assert train(folder, origin_manifest(folder), store) == OK
    return folder


def test_the_network_and_its_card(trained: Path) -> None:
    data = (trained / "out" / "origin-ada.safetensors").read_bytes()
    network = weights.from_bytes(data, "trained").network
    assert network.settings.classes == CLASSES
    assert network.settings.natural == "npi"
    card = json.loads((trained / "out" / "origin-ada.json").read_text())
    assert card["images"] == {"npi": 4, "cgg": 4, "dgi": 4}
    assert len(card["tested_on"]) == 3  # one source of each class
    assert card["tested"]["images"] == card["tested_as_found"]["images"] == 6
    assert np.sum(card["tested"]["confusion"]) == 6
    assert card["training_patches"] == 6 * 6
    assert card["level"]["largest"] == 80
    assert card["compressed_harder"] == 0
    assert set(card["filter_variance"]) == {"red", "green", "blue"}
    assert not (trained / "out" / ".training").exists()


def test_the_course_and_pictures_are_in_mlflow(trained: Path, store: str) -> None:
    client = MlflowClient(store)
    experiment = client.get_experiment_by_name(trained.name)
    assert experiment is not None
    [run] = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    for measure in ("loss", "accuracy", "held_out_accuracy", "lr"):
        course = client.get_metric_history(run.info.run_id, f"origin-ada.{measure}")
        assert [metric.step for metric in course] == [1, 2]
    assert "origin-ada.tested.balanced_accuracy" in run.data.metrics
    artifacts = Path(run.info.artifact_uri.removeprefix("file://"))
    assert {path.name for path in artifacts.iterdir()} == {
        "origin-ada.json",
        "origin-ada-confusion.png",
        "origin-ada-filters.png",
    }


def test_the_registered_network_says_what_the_file_says(
    trained: Path, store: str, tmp_path: Path
) -> None:
    """In a process of its own that refuses pickles."""
    patches = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    np.save(tmp_path / "patches.npy", patches)
    script = (
        "import sys, mlflow, numpy as np; mlflow.set_tracking_uri(sys.argv[1]);"
        "model = mlflow.pyfunc.load_model('models:/origin-ada/1');"
        "np.save(sys.argv[3], model.predict(np.load(sys.argv[2])))"
    )
    files = [str(tmp_path / "patches.npy"), str(tmp_path / "said.npy")]
    env = {"MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false", "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", script, store, *files], check=True, cwd=tmp_path, env=env)
    network = weights.load(str(trained / "out" / "origin-ada.safetensors")).network
    np.testing.assert_allclose(np.load(files[1]), predictor(network)(patches), atol=1e-5)


def test_the_file_is_what_a_scan_takes(trained: Path) -> None:
    file = str(trained / "out" / "origin-ada.safetensors")
    chosen = ScanSettings.model_validate(
        {"detectors": ["origin"], "origin": {"weights": file, "patches": 30}, "device": "cpu"}
    )
    row = next(iter(read(str(trained / "origin.parquet"))))
    finding = Scanner(chosen).answer(row).findings["origin"]
    assert finding.reason is None
    assert finding.values["label"] in CLASSES
    assert sum(vote["patches"] for vote in finding.values["votes"]) == 30


@pytest.mark.slow
def test_a_killed_job_continues_at_the_next_epoch(
    trained: Path, tmp_path: Path, store: str
) -> None:
    longer = {"training.epochs": 6}
    arguments = settings(tmp_path, str(trained / "origin.parquet"), store, **longer)
    checkpoints = tmp_path / "out" / ".training"
    process = start("jobs.train_origin", *arguments)
    end = time.monotonic() + 400
    while not list(checkpoints.rglob("checkpoint_manager_snapshot.json")):
        assert time.monotonic() < end
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (tmp_path / "out" / "origin-ada.safetensors").exists()
    process = start("jobs.train_origin", *arguments)
    out, _ = process.communicate(timeout=400)
    assert process.returncode == OK, out
    assert "epoch 1/6" not in out
    assert not checkpoints.exists()
    other = tmp_path / "uninterrupted"
    assert train(other, str(trained / "origin.parquet"), store, **longer) == OK
    one, same = (f / "out" / "origin-ada.safetensors" for f in (tmp_path, other))
    assert one.read_bytes() == same.read_bytes()


def test_vgg_starts_from_the_file_of_the_user(trained: Path, tmp_path: Path, store: str) -> None:
    manifest = str(trained / "origin.parquet")
    with pytest.raises(UserError, match="vgg needs vgg_weights"):
        train(tmp_path, manifest, store, scenario="vgg")
    file = tmp_path / "vgg19.pth"
    file.write_bytes(saved(published()))
    vgg = {"scenario": "vgg", "vgg_weights": file, "training.epochs": 1}
    assert train(tmp_path, manifest, store, levelling=False, **vgg) == OK
    network = weights.load(str(tmp_path / "out" / "origin-vgg.safetensors")).network
    assert torch.equal(network.first, published()["features.0.weight"])
    card = json.loads((tmp_path / "out" / "origin-vgg.json").read_text())
    assert card["level"] is None


def test_what_cannot_be_used_is_named_or_refused(
    trained: Path, tmp_path: Path, store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = list(read(str(trained / "origin.parquet")))
    odd = [
        ManifestRow("unlabelled", rows[0].uri, source="npi0"),
        ManifestRow("gone", str(tmp_path / "gone.png"), label="npi", source="npi1"),
    ]
    manifest = manifest_of(tmp_path, [*rows, *odd])
    assert train(tmp_path, manifest, store, **{"training.epochs": 1}) == OK
    out = capsys.readouterr().out
    assert "unlabelled: not used, its label is None, which names no class" in out
    assert "gone: not used, " in out
    one = manifest_of(tmp_path, [r for r in rows if r.source != "dgi1"], "one")
    with pytest.raises(UserError, match="all images of dgi come from one source"):
        train(tmp_path, one, store)
    single = manifest_of(tmp_path, [r for r in rows if r.label == "npi"], "single")
    with pytest.raises(UserError, match="two or more are needed, there is npi"):
        train(tmp_path, single, store)
    with pytest.raises(UserError, match="fold 2 of 2 folds"):
        train(tmp_path, manifest, store, fold=2)
