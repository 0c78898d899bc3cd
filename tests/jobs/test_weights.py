"""Weights named by the MLflow registry, a real one on SQLite."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from PIL import Image

from forensics.evaluate.study.trufor import TruForStudy
from forensics.manifest import write_manifest
from forensics.records import ManifestRow, UserError
from forensics.run import load_run
from forensics.scan import ScanSettings
from forensics.trufor.checkpoint import to_safetensors
from forensics.trufor.detector import TruForDetectorSettings
from forensics.trufor.predictor import TruFor
from jobs.cluster import PoolSettings
from jobs.entry import OK
from jobs.scan import ScanJob, scan
from jobs.tracking import TrackingSettings, tracked
from jobs.train_trufor import TrainTruForJob, train_trufor
from jobs.trufor_training.outcome import keep
from jobs.trufor_training.start import StartSettings
from jobs.weights import checkpoint, resolved
from tests.trufor.networks import tiny_network


@dataclass(frozen=True)
class Registry:
    """A store with two versions of a network."""

    store: str
    folder: Path
    files: tuple[bytes, bytes]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory, store: str) -> Registry:
    folder = tmp_path_factory.mktemp("registry")
    tracking = TrackingSettings(uri=store, experiment="weights")
    files = to_safetensors(tiny_network(1)), to_safetensors(tiny_network(2))
    with tracked("train_trufor", StartSettings(), tracking, str(folder)) as tracker:
        for data in files:
            (folder / "best.safetensors").write_bytes(data)
            outcome = {
                "weights": str(folder / "best.safetensors"),
                "history": [{"number": 1, "loss": 1.0}],
                "best": 1,
                "samples": [],
            }
            keep(tracker, str(folder / "out"), 3, outcome, {})
    MlflowClient(store).set_registered_model_alias("trufor", "good", "1")
    return Registry(store, folder, files)


@pytest.mark.parametrize(
    ("uri", "number"),
    [("models:/trufor/1", 0), ("models:/trufor/2", 1), ("models:/trufor@good", 0)],
)
def test_a_registered_model_becomes_a_file_named_by_its_content(
    registry: Registry, tmp_path: Path, uri: str, number: int
) -> None:
    settings = ScanSettings(
        detectors=("trufor",), trufor=TruForDetectorSettings(checkpoint=uri, tau=0.25)
    )
    found = resolved(settings, registry.store, str(tmp_path))
    sha256 = hashlib.sha256(registry.files[number]).hexdigest()
    path = tmp_path / f"trufor-{number + 1}-{sha256[:16]}.safetensors"
    assert found.trufor.checkpoint == str(path)
    assert path.read_bytes() == registry.files[number]
    assert TruFor.from_checkpoint(str(path)).digest == sha256
    assert found.model_copy(update={"trufor": settings.trufor}) == settings  # nothing else changed
    assert resolved(settings, registry.store, str(tmp_path)) == found
    assert list(tmp_path.iterdir()) == [path]


def test_the_library_reads_a_registered_model_by_way_of_a_file(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sha256 = hashlib.sha256(registry.files[1]).hexdigest()
    path = checkpoint("models:/trufor/2", str(tmp_path), registry.store)
    assert TruFor.from_checkpoint(path).digest == sha256
    assert checkpoint(path, str(tmp_path)) == path
    monkeypatch.setenv("MLFLOW_TRACKING_URI", registry.store)
    assert checkpoint("models:/trufor/2", str(tmp_path)) == path
    with pytest.raises(UserError, match=r'jobs\.weights\.checkpoint\("models:/trufor/2", folder\)'):
        TruFor.from_checkpoint("models:/trufor/2")


def test_every_value_is_looked_at_and_files_stay_as_they_are(
    registry: Registry, tmp_path: Path
) -> None:
    checkpoints = {"ours": "models:/trufor/2", "file": "case/models:/x.safetensors"}
    found = resolved(TruForStudy(checkpoints=checkpoints), registry.store, str(tmp_path))
    assert Path(found.checkpoints["ours"]).read_bytes() == registry.files[1]
    assert found.checkpoints["file"] == checkpoints["file"]
    plain = StartSettings(checkpoint="a.safetensors")
    assert resolved(plain, "sqlite:////nowhere/mlflow.db", str(tmp_path)) is plain


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("models:/trufor/9", r"models:/trufor/9: MLflow at sqlite.* does not have it"),
        ("models:/nobody/1", "does not have it"),
        ("models:/trufor@best", "does not have it"),
        ("models:/trufor", "is written models:/name/version or models:/name@alias"),
        ("models:/trufor/latest", "is written models:/name/version"),
    ],
)
def test_a_model_that_is_not_there_is_named(
    registry: Registry, tmp_path: Path, uri: str, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        resolved(StartSettings(checkpoint=uri), registry.store, str(tmp_path))
    job = TrainTruForJob(
        phase=3,
        manifest=_photos(tmp_path),
        output=str(tmp_path / "out"),
        start=StartSettings(checkpoint=uri),
        tracking=TrackingSettings(uri=registry.store),
    )
    with pytest.raises(UserError, match=message):
        train_trufor(job)


def test_weights_changed_in_the_registry_s_files_are_refused(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    store = f"sqlite:///{tmp_path / 'mlflow.db'}"
    with tracked("t", StartSettings(), TrackingSettings(uri=store), str(tmp_path)) as tracker:
        (tmp_path / "best").write_bytes(to_safetensors(tiny_network()))
        outcome = {"weights": str(tmp_path / "best"), "history": [{"number": 1}], "best": 1}
        keep(tracker, str(tmp_path / "out"), 3, {**outcome, "samples": []}, {})
    [kept] = (tmp_path / "mlartifacts").rglob("weights.safetensors")
    kept.write_bytes(to_safetensors(tiny_network(5)))
    start = StartSettings(checkpoint="models:/trufor/1")
    with pytest.raises(UserError, match="not those that were registered"):
        resolved(start, store, str(tmp_path / "files"))
    kept.unlink()
    with pytest.raises(UserError, match=r"no artifacts/weights\.safetensors can be read from it"):
        resolved(start, store, str(tmp_path / "files"))


@pytest.mark.ray
def test_a_scan_by_a_registered_model_is_continued_by_the_same_command(
    ray_local: None, registry: Registry, tmp_path: Path
) -> None:
    job = ScanJob(
        manifest=_photos(tmp_path),
        output=str(tmp_path / "run"),
        detectors=("trufor",),
        trufor=TruForDetectorSettings(checkpoint="models:/trufor/1"),
        device="cpu",
        shard_rows=1,
        pool=PoolSettings(workers=1),
        tracking=TrackingSettings(uri=registry.store),
    )
    assert scan(job) == OK
    (tmp_path / "run" / "report" / "shard-00000000.parquet").unlink()
    assert scan(job) == OK
    run = load_run(str(tmp_path / "run"))
    sha256 = hashlib.sha256(registry.files[0]).hexdigest()
    expected = TruFor.from_bytes(registry.files[0])
    for shard in range(2):
        [row] = run.report(shard).to_pylist()
        rgb = np.asarray(Image.open(tmp_path / f"{row['image_id']}.png"))
        assert row["trufor"]["score"] == pytest.approx(expected.predict(rgb).score, abs=1e-6)
    [kept] = (tmp_path / "run" / "weights").iterdir()
    assert sha256[:16] in kept.name


def _photos(folder: Path) -> str:
    for n in range(2):
        rgb = np.random.default_rng(n).integers(0, 256, (48, 64, 3), dtype=np.uint8)
        Image.fromarray(rgb).save(folder / f"{n}.png")
    path = str(folder / "archive.parquet")
    write_manifest([ManifestRow(str(n), f"{n}.png") for n in range(2)], path)
    return path
