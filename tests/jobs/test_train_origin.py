"""The training of origin networks end to end, with a real Ray and a real MLflow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from forensics.config import load
from forensics.manifest import read
from forensics.origin import weights
from forensics.origin.judge import predictor
from forensics.records import ManifestRow, UserError
from forensics.scan import Scanner, ScanSettings
from jobs.entry import OK
from jobs.train_origin import TrainOriginJob, train_origin
from tests.jobs import trainings
from tests.jobs.origin_images import SMALL, put_images
from tests.jobs.photos import manifest_of
from tests.jobs.shipped import CONFIGS
from tests.jobs.trainings import words
from tests.origin.networks import CLASSES
from tests.origin.test_network import published, saved

pytestmark = pytest.mark.ray

SHIPPED = CONFIGS["train_origin_cpu"]
EPOCHS = 6  # a job can be killed in the middle
NAME = "origin-ada"


def settings(folder: Path, manifest: str, store: str, **more: Any) -> list[str]:
    given = {
        "manifest": manifest,
        "output": folder / "out",
        "folds": 2,
        "tracking.uri": store,
        "tracking.experiment": folder.name,
        "pool.workers": 2,
        **SMALL,
        "training.epochs": EPOCHS,
        **more,
    }
    return words(given)


def train(*arguments: Any, **more: Any) -> int:
    return train_origin(load(TrainOriginJob, SHIPPED, settings(*arguments, **more)))


@pytest.fixture(scope="module")
def trained(ray_local: None, tmp_path_factory: pytest.TempPathFactory, store: str) -> Path:
    """Folder of a manifest, the network trained on it, and what the job printed."""
    folder = tmp_path_factory.mktemp("case")
    rows = put_images(folder / "images")
    odd = [
        ManifestRow("unlabelled", rows[0].uri, source="npi0"),
        ManifestRow("gone", str(folder / "gone.png"), label="npi", source="npi1"),
    ]
    manifest = manifest_of(folder, [*rows, *odd])
    (folder / "printed.txt").write_text(trainings.printed(lambda: train(folder, manifest, store)))
    return folder


def test_the_network_and_its_card(trained: Path) -> None:
    data = (trained / "out" / "origin-ada.safetensors").read_bytes()
    network = weights.from_bytes(data, "trained").network
    assert network.settings.classes == CLASSES
    assert network.settings.natural == "npi"
    assert network.settings.jpeg_qualities == (70, 90)
    card = json.loads((trained / "out" / "origin-ada.json").read_text())
    assert card["images"] == {"npi": 4, "cgg": 4, "dgi": 4}
    assert len(card["tested_on"]) == 3  # one source of each class
    assert card["tested"]["images"] == card["tested_as_found"]["images"] == 6
    assert np.sum(card["tested"]["confusion"]) == 6
    assert card["training_patches"] == 6 * 6
    assert card["level"]["largest"] == 80
    assert card["jpeg_qualities"] == [70, 90]
    assert card["not_tested_on"] == []
    assert card["earlier_may_show"] == 0
    assert set(card["filter_variance"]) == {"red", "green", "blue"}
    assert not (trained / "out" / ".training").exists()


def test_the_course_and_pictures_are_in_mlflow(trained: Path, store: str) -> None:
    [run] = trainings.logged(store, trained)
    assert run.info.status == "FINISHED"
    for measure in ("loss", "accuracy", "held_out_accuracy", "lr"):
        assert trainings.steps(store, run, f"{NAME}.{measure}") == [*range(1, EPOCHS + 1)]
    assert "origin-ada.tested.balanced_accuracy" in run.data.metrics
    assert trainings.artifacts_of(run) == {
        "origin-ada.json",
        "origin-ada-confusion.png",
        "origin-ada-filters.png",
    }


def test_the_registered_network_says_what_the_file_says(
    trained: Path, store: str, tmp_path: Path
) -> None:
    patches = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    [probabilities] = trainings.said(store, tmp_path, patches, NAME).values()
    network = weights.load(str(trained / "out" / "origin-ada.safetensors")).network
    np.testing.assert_allclose(probabilities, predictor(network)(patches), atol=1e-5)


def test_the_file_is_what_a_scan_takes(trained: Path) -> None:
    file = str(trained / "out" / "origin-ada.safetensors")
    chosen = ScanSettings.model_validate(
        {"detectors": ["origin"], "origin": {"weights": file, "patches": 30}, "device": "cpu"}
    )
    row = next(iter(read(str(trained / "manifest.parquet"))))
    finding = Scanner(chosen).answer(row).findings["origin"]
    assert finding.reason is None
    assert finding.values["label"] in CLASSES
    assert sum(vote["patches"] for vote in finding.values["votes"]) == 30


@pytest.mark.faults
def test_a_killed_job_continues_at_the_next_epoch(
    trained: Path, tmp_path: Path, store: str
) -> None:
    manifest, work = str(trained / "manifest.parquet"), tmp_path / "out" / ".training"
    arguments = ["--config", str(SHIPPED), *settings(tmp_path, manifest, store)]
    done = trainings.kill_after_an_epoch("jobs.train_origin", arguments, work, NAME)
    assert not (tmp_path / "out" / f"{NAME}.safetensors").exists()
    out = trainings.printed(lambda: train(tmp_path, manifest, store))
    assert f"{NAME}: epoch {EPOCHS}/{EPOCHS}" in out
    assert f"{NAME}: epoch {done}/{EPOCHS}" not in out
    # the same, bit for bit, as the training that was never interrupted
    one, other = (f / "out" / f"{NAME}.safetensors" for f in (tmp_path, trained))
    assert one.read_bytes() == other.read_bytes()
    assert not work.exists()


def test_vgg_starts_from_the_file_of_the_user(trained: Path, tmp_path: Path, store: str) -> None:
    manifest = str(trained / "manifest.parquet")
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


def test_what_cannot_be_used_is_named_or_refused(trained: Path, tmp_path: Path, store: str) -> None:
    out = (trained / "printed.txt").read_text()
    assert "unlabelled: not used, its label is None, which names no class" in out
    assert "gone: not used, " in out
    assert "compressed at 80, as a scan does, " in out
    assert "note: " not in out
    rows = list(read(str(trained / "manifest.parquet")))
    one = manifest_of(tmp_path, [r for r in rows if r.source != "dgi1"], "one")
    with pytest.raises(UserError, match="dgi: one image alone, or images of one source"):
        train(tmp_path, one, store)
    single = manifest_of(tmp_path, [r for r in rows if r.label == "npi"], "single")
    with pytest.raises(UserError, match="two or more are needed, there is npi"):
        train(tmp_path, single, store)
    with pytest.raises(UserError, match="fold 2 of 2 folds"):
        train(tmp_path, str(trained / "manifest.parquet"), store, fold=2)


def test_classes_that_cannot_be_told_or_tested_are_named(
    trained: Path, tmp_path: Path, store: str
) -> None:
    manifest = str(trained / "manifest.parquet")
    few = {"natural": "photo", "folds": 3, "fold": 2, "training.epochs": 0}
    out = trainings.printed(lambda: train(tmp_path, manifest, store, **few))
    assert "note: no image is labelled 'photo', as natural says photographs are" in out
    card = json.loads((tmp_path / "out" / "origin-ada.json").read_text())
    assert card["natural"] is None
    [missing] = [set(CLASSES) - {name[:3] for name in card["tested_on"]}]
    assert missing == set(card["not_tested_on"])
    assert f"has no image of {', '.join(card['not_tested_on'])}" in out
    assert f"with classes alike (without {', '.join(card['not_tested_on'])})" in out
