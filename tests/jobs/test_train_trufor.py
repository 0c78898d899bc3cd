"""TruFor's training as a job, by its shipped files: three phases in a row, kills, bad input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
import ray.train
from mlflow import MlflowClient

import jobs.train_trufor
from forensics.config import load
from forensics.manifest import read
from forensics.records import ManifestRow, UserError
from forensics.synth.camera import SimulatedCamera
from forensics.train.trufor.contrastive import NoiseprintPhase
from forensics.train.trufor.loop import PhaseTraining
from forensics.train.trufor.patches import cut_crops
from forensics.train.trufor.settings import ContrastiveSettings
from forensics.trufor.checkpoint import load_network, load_noiseprint
from forensics.trufor.noiseprint import Noiseprint
from forensics.trufor.predictor import TruFor
from jobs.entry import INCOMPLETE, OK
from jobs.make_forgeries import MakeForgeriesJob, make_forgeries
from jobs.train_trufor import TrainTruForJob, say_split, train_trufor
from jobs.training.run import Workers, run_training
from jobs.trufor_training.loop import numbers, train_loop
from jobs.trufor_training.start import noiseprint_to_bytes
from tests.jobs import trainings
from tests.jobs.photos import manifest_of, put_bytes
from tests.jobs.shipped import CONFIGS
from tests.jobs.trainings import words
from tests.train.trufor.made import TINY

pytestmark = pytest.mark.ray

SMALL: dict[str, Any] = {
    **{f"network.{name}": value for name, value in TINY.model_dump(exclude={"encoder"}).items()},
    **{f"network.encoder.{name}": list(value) for name, value in TINY.encoder.model_dump().items()},
    "contrastive.epochs": 3,
    "contrastive.steps": 2,
    "contrastive.validation_steps": 1,
    "contrastive.patch": 16,
    "contrastive.crop": 48,
    "contrastive.crops": 2,
    "contrastive.cameras": 2,
    "contrastive.histories": 2,
    "contrastive.photos": 2,
    "training.epochs": 2,
    "training.batch": 4,
    "training.crop": 64,
    "training.validation": 0.3,
    "pool.workers": 2,
    "samples": 2,
}
WEIGHTS = {1: "noiseprint", 2: "trufor-localization", 3: "trufor"}


def shipped(phase: int) -> Path:
    """The file of settings for a CPU."""
    return CONFIGS[f"train_trufor_{phase}_cpu"]


def settings(folder: Path, phase: int, manifest: str, store: str, **more: Any) -> list[str]:
    output = folder / "out"
    begin = {
        1: {},
        2: {"start.noiseprint": output / "noiseprint.safetensors"},
        3: {"start.checkpoint": output / "trufor-localization.safetensors"},
    }[phase]
    tracking = {"tracking.uri": store, "tracking.experiment": folder.name}
    given = {"phase": phase, "manifest": manifest, "output": output, **tracking, **begin}
    return words({**given, **SMALL, **more})


def train(folder: Path, phase: int, *rest: Any, **more: Any) -> int:
    given = settings(folder, phase, *rest, **more)
    return train_trufor(load(TrainTruForJob, shipped(phase), given))


def photos(folder: Path) -> list[ManifestRow]:
    cameras = [SimulatedCamera(seed, 96, 128) for seed in (1, 2)]
    return [
        put_bytes(folder / "photos", f"{c}-{n}", f"camera{c}", camera.encode(camera.natural(n)))
        for c, camera in enumerate(cameras)
        for n in range(5)
    ]


@pytest.fixture(scope="module")
def case(ray_local: None, tmp_path_factory: pytest.TempPathFactory, store: str) -> Path:
    """Folder with photos and the forgeries made of them."""
    folder = tmp_path_factory.mktemp("case")
    made = {"manifest": manifest_of(folder, photos(folder)), "output": folder / "forged"}
    job = load(MakeForgeriesJob, None, words({**made, "crop": 80, "tracking.uri": store}))
    assert make_forgeries(job) == OK
    return folder


@pytest.fixture(scope="module")
def trained(case: Path, store: str) -> Path:
    """Folder of a network that went through all phases."""
    truth = str(case / "forged" / "truth.parquet")
    rows = list(read(truth))
    forged = next(row for row in rows if row.label == "forged")
    odd = [
        ManifestRow("unlabelled", forged.uri),
        ManifestRow("unmasked", forged.uri, label="forged"),
        ManifestRow("gone", str(case / "gone.jpg"), label="pristine"),
    ]
    with_odd = manifest_of(case, [*rows, *odd], "odd")
    assert train(case, 1, str(case / "manifest.parquet"), store) == OK
    (case / "printed.txt").write_text(trainings.printed(lambda: train(case, 2, with_odd, store)))
    assert train(case, 3, truth, store) == OK
    return case


def test_each_phase_builds_on_the_one_before(trained: Path) -> None:
    files = {phase: trained / "out" / f"{name}.safetensors" for phase, name in WEIGHTS.items()}
    noiseprint = load_noiseprint(files[1].read_bytes()).state_dict()
    second, third = (load_network(files[p].read_bytes()).state_dict() for p in (2, 3))
    for name, tensor in noiseprint.items():
        assert second[f"dncnn.{name}"].equal(tensor)
    changed = {name.split(".")[0] for name in second if not second[name].equal(third[name])}
    assert changed == {"decode_head_conf", "detection"}
    assert not (trained / "out" / ".training").exists()  # checkpoints are gone
    card = json.loads((trained / "out" / "trufor.json").read_text())
    assert (card["phase"], card["epochs"], card["images"]) == (3, 2, 40)
    assert card["sources"] == {"pristine": 10, "splice": 10, "copymove": 10, "removal": 10}
    assert 0 <= card["best"]["validation.confidence_error"] <= 1
    second = json.loads((trained / "out" / "trufor-localization.json").read_text())
    assert (second["images"], second["sources"]) == (40, card["sources"])  # not the unusable ones


def test_every_epoch_is_in_mlflow_and_a_sheet_of_samples(trained: Path, store: str) -> None:
    runs = trainings.logged(store, trained)
    assert [run.info.status for run in runs] == ["FINISHED"] * 3
    measures = {"1": "auc_history", "2": "f1_best", "3": "balanced_accuracy"}
    for run in runs:
        phase = run.data.params["phase"]
        name = WEIGHTS[int(phase)]
        for measure in ("loss", "lr", f"validation.{measures[phase]}"):
            epochs = 3 if phase == "1" else 2
            assert trainings.steps(store, run, f"{name}.{measure}") == [*range(1, epochs + 1)]
        assert trainings.artifacts_of(run) == {"samples.png", f"{name}.json"}
        assert MlflowClient(store).search_model_versions(f"name = '{name}'")


def test_the_registered_network_says_what_the_file_says(
    trained: Path, store: str, tmp_path: Path
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 70, 90, 3), dtype=np.uint8)
    answers = trainings.said(store, tmp_path, images, "noiseprint", "trufor")
    trufor = TruFor.from_checkpoint(str(trained / "out" / "trufor.safetensors"))
    for i, image in enumerate(images):
        expected = trufor.predict(image)
        for name in ("map", "confidence", "noiseprint"):
            np.testing.assert_allclose(
                answers[f"trufor/{name}"][i], getattr(expected, name), atol=1e-5
            )
        assert answers["trufor/score"][i] == pytest.approx(expected.score, abs=1e-5)
    np.testing.assert_allclose(
        answers["noiseprint/noiseprint"], answers["trufor/noiseprint"], atol=1e-4
    )


@pytest.mark.faults
def test_a_killed_job_continues_at_the_next_epoch(
    trained: Path, tmp_path: Path, store: str
) -> None:
    photos, work = str(trained / "manifest.parquet"), tmp_path / "out" / ".training"
    arguments = ["--config", str(shipped(1)), *settings(tmp_path, 1, photos, store)]
    done = trainings.kill_after_an_epoch("jobs.train_trufor", arguments, work, WEIGHTS[1])
    assert not (tmp_path / "out" / "noiseprint.safetensors").exists()
    out = trainings.printed(lambda: train(tmp_path, 1, photos, store))
    assert f"{WEIGHTS[1]}: epoch {done}/" not in out
    assert_same(trained, tmp_path, WEIGHTS[1])


def fails_after_an_epoch(config: dict[str, Any]) -> Any:
    """The loop, whose worker fails once its first epoch is kept."""
    said = ray.train.report

    def report(metrics: dict[str, Any], checkpoint: Any = None) -> None:
        said(metrics, checkpoint=checkpoint)
        raise ConnectionError("the worker lost its node")

    ray.train.report = report
    return train_loop(config)


@pytest.mark.faults
def test_a_job_whose_workers_fail_continues_at_the_next_epoch(
    trained: Path, tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A phase on images; one line says what to do, and the same command does it."""
    begin = {"start.checkpoint": trained / "out" / "trufor-localization.safetensors"}
    arguments = tmp_path, 3, str(trained / "forged" / "truth.parquet"), store
    monkeypatch.setattr(jobs.train_trufor, "train_loop", fails_after_an_epoch)
    out = trainings.printed(lambda: train(*arguments, retries=0, **begin), INCOMPLETE)
    assert "ConnectionError: the worker lost its node. The same command continues" in out
    assert not (tmp_path / "out" / f"{WEIGHTS[3]}.safetensors").exists()
    monkeypatch.undo()
    again = trainings.printed(lambda: train(*arguments, **begin))
    assert f"{WEIGHTS[3]}: epoch 1/" not in again
    assert f"{WEIGHTS[3]}: epoch 2/2" in again
    assert_same(trained, tmp_path, WEIGHTS[3])


def assert_same(trained: Path, continued: Path, name: str) -> None:
    """Bit for bit what a training gave that was never interrupted; nothing is left over."""
    one, other = (folder / "out" / f"{name}.safetensors" for folder in (continued, trained))
    assert one.read_bytes() == other.read_bytes()
    assert not (continued / "out" / ".training").exists()


@pytest.mark.slow
def test_two_workers_give_what_one_gives(ray_local: None, tmp_path: Path) -> None:
    """Without batch norm, whose statistics are each worker's own."""
    chosen = ContrastiveSettings(
        **{
            name.removeprefix("contrastive."): value
            for name, value in SMALL.items()
            if name.startswith("contrastive.")
        }
    )
    crops = [
        cut_crops(f"{seed}-{n}", f"camera{seed}", camera.natural(n), chosen)
        for seed, camera in ((seed, SimulatedCamera(seed, 96, 128)) for seed in (1, 2))
        for n in range(5)
    ]
    data = noiseprint_to_bytes(Noiseprint(2, 4))
    config = {
        "phase": 1,
        "start": ray.put(data),
        "items": [ray.put(crop) for crop in crops],
        "settings": chosen.model_dump_json(),
        "weights": str(tmp_path / "noiseprint.safetensors"),
        "samples": 1,
    }
    epochs: list[Any] = []
    result = run_training(
        train_loop,
        config,
        folder=str(tmp_path / "work"),
        name="one",
        workers=Workers(2, 1, 0),
        retries=0,
        on_epoch=epochs.append,
    )
    alone = PhaseTraining(NoiseprintPhase(load_noiseprint(data), crops, chosen))
    expected = [numbers(epoch) for epoch in alone.epochs()]
    for epoch in epochs:  # how fast it went is no part of the history
        assert epoch.pop("seconds") > 0
        assert epoch.pop("examples_per_second") > 0
    assert epochs == result["history"]
    for one, other in zip(epochs, expected, strict=True):
        # Few pairs are ranked: sums in another order may turn one of them round.
        ranks = {name for name in other if "auc" in name or "retrieval" in name}
        assert set(one) == set(other)
        for name, value in other.items():
            assert one[name] == pytest.approx(value, rel=1e-3, abs=0.05 if name in ranks else 1e-6)
    [(title, planes)] = result["samples"]
    assert title == "camera 1, position 1, history 1"
    assert set(planes) == {"patch", "noiseprint"}


def test_images_that_cannot_be_used_are_named(trained: Path) -> None:
    out = (trained / "printed.txt").read_text()
    assert "unlabelled: not used, has the label None" in out
    assert "unmasked: not used, is forged, but has no mask_uri" in out
    assert "gone: not used, " in out


def test_a_split_left_to_chance_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [ManifestRow("a", "a.jpg", split="training"), ManifestRow("b", "b.jpg")]
    job = TrainTruForJob(phase=2, manifest="m.parquet", output="out")
    say_split(job, rows)
    assert "m.parquet: no image has the split validation" in capsys.readouterr().out
    say_split(job.model_copy(update={"phase": 1}), rows)  # photos: none comes from another
    say_split(job, [*rows, ManifestRow("c", "c.jpg", split="validation")])
    assert not capsys.readouterr().out


def test_what_cannot_be_trained_is_refused(trained: Path, tmp_path: Path, store: str) -> None:
    rows = list(read(str(trained / "manifest.parquet")))
    few = manifest_of(tmp_path, [rows[0], rows[5]], "few")
    with pytest.raises(UserError, match="four of a camera at least; the best has 1"):
        train(tmp_path, 1, few, store)
    nameless = manifest_of(tmp_path, [ManifestRow("a", rows[0].uri)], "nameless")
    with pytest.raises(UserError, match="1 photos have no camera_id"):
        train(tmp_path, 1, nameless, store)
    (tmp_path / "twice").mkdir()
    twice = str(tmp_path / "twice")  # two manifests in one folder
    manifest_of(Path(twice), rows[:3], "a"), manifest_of(Path(twice), rows[2:], "b")
    for phase in (1, 2, 3):
        with pytest.raises(
            UserError, match=f"1 image_ids stand for several images.*{rows[2].image_id}"
        ):
            train(tmp_path, phase, twice, store)
    with pytest.raises(UserError, match="workers_per_training 40 needs 41 CPUs"):
        train(tmp_path, 1, few, store, workers_per_training=40)
