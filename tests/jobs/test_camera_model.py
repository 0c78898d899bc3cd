"""The camera model job: what is trained, what is left out and why, what is refused."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import ray
from mlflow import MlflowClient
from mlflow.entities import Run

from forensics.prnu.camera_model import CameraModel, UsedImage
from forensics.prnu.library import CameraLibrary
from forensics.prnu.predictors import LSEPredictor
from forensics.prnu.training import WINDOWS
from forensics.records import ManifestRow, UserError
from forensics.synth.camera import SimulatedCamera
from jobs.camera_model import CameraModelJob, borrow, camera_model
from jobs.cameras import sample, write_model, write_trained
from jobs.cluster import PoolSettings
from jobs.entry import INCOMPLETE, OK
from jobs.tracking import TrackingSettings
from tests.jobs.photos import manifest_of, put_bytes
from tests.prnu.cameras import HEIGHT, WIDTH, camera, fingerprint_model, trained_model

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_local")]

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def train(tmp_path: Path, store: str) -> Any:
    """Runs the job on some rows and the models in ``models``; returns its exit code."""

    def run(rows: list[ManifestRow], **changes: Any) -> int:
        values: dict[str, Any] = {
            "manifest": manifest_of(tmp_path, rows),
            "models": str(tmp_path / "models"),
            "pool": PoolSettings(workers=2),
            "tracking": TrackingSettings(uri=store, experiment=tmp_path.name),
            **changes,
        }
        return camera_model(CameraModelJob(**values))

    return run


def photos(folder: Path, seed: int, numbers: range) -> list[ManifestRow]:
    """Natural photos of a camera, as it writes them."""
    of = camera(seed)
    return [
        put_bytes(folder, f"{seed}-{n}", f"camera{seed}", of.encode(of.natural(n))) for n in numbers
    ]


def put_model(folder: Path, model: CameraModel) -> None:
    write_model(str(folder / "models" / model.camera_id), model)


def model(folder: Path, camera_id: str) -> CameraModel:
    return CameraLibrary(str(folder / "models")).model(camera_id)


def reasons(out: str) -> dict[str, str]:
    """What was said of each photo of camera 1."""
    lines = re.findall(r"^  (?:left out )?(1-\w+): (.*)$", out, re.MULTILINE)
    return dict(lines)


def logged(store: str, folder: Path) -> Iterator[Run]:
    client = MlflowClient(store)
    experiment = client.get_experiment_by_name(folder.name)
    assert experiment is not None
    yield from client.search_runs([experiment.experiment_id])


def test_models_are_trained_and_described(
    tmp_path: Path, train: Any, store: str, capsys: Captured
) -> None:
    for seed in (1, 2):
        put_model(tmp_path, fingerprint_model(seed))
    rows = photos(tmp_path, 1, range(4)) + photos(tmp_path, 2, range(3))
    assert train(rows[::-1]) == OK
    out = capsys.readouterr().out
    assert "camera1: 4 images, 0 not used" in out
    assert "camera2: 3 images, 0 not used" in out
    assert out.count("worst false alarm on a pristine image") == 2

    trained = model(tmp_path, "camera1")
    assert [image.image_id for image in trained.training] == ["1-0", "1-1", "1-2", "1-3"]
    assert [image.sha256 for image in trained.training] == [row.sha256 for row in rows[:4]]
    assert [window.window for window in trained.windows] == list(WINDOWS[:-1])
    assert list(trained.left_out) == ["256"]  # four photos have too few of them
    assert "  left out 256: 24 windows of 256 px in 4 photos are too few" in out
    assert trained.window(128).adjusted_r2 > 0.3
    assert trained.fingerprint.equal(fingerprint_model(1).fingerprint)

    [run] = logged(store, tmp_path)
    assert run.info.status == "FINISHED"
    metrics = run.data.metrics
    assert metrics["camera1.adjusted_r2"] == trained.window(192).adjusted_r2  # the last step
    assert metrics["camera1.worst_false_alarm_area"] == trained.false_alarms[0].area
    folder = Path(run.info.artifact_uri.removeprefix("file://"))
    assert {path.name for path in folder.iterdir()} == {"cameras.json", "adjusted_r2.png"}
    cameras = json.loads((folder / "cameras.json").read_text())
    assert [camera["images"] for camera in cameras] == [4, 3]

    for seed in (1, 2):  # the same photos again, in another order
        put_model(tmp_path / "again", fingerprint_model(seed))
    assert train(rows, models=str(tmp_path / "again" / "models")) == OK
    assert model(tmp_path / "again", "camera1").digest == trained.digest


def test_a_camera_without_a_fingerprint_is_refused(tmp_path: Path, train: Any, store: str) -> None:
    put_model(tmp_path, fingerprint_model(1))
    before = model(tmp_path, "camera1").digest
    rows = [*photos(tmp_path, 1, range(2)), *photos(tmp_path, 2, range(1))]
    with pytest.raises(UserError, match=r"no fingerprint of camera2; run jobs\.fingerprint"):
        train(rows)
    assert model(tmp_path, "camera1").digest == before
    assert MlflowClient(store).get_experiment_by_name(tmp_path.name) is None


def test_a_folder_without_models_is_refused(tmp_path: Path, train: Any) -> None:
    with pytest.raises(UserError, match="no camera models in"):
        train(photos(tmp_path, 1, range(1)))


def test_too_few_photos_set_the_exit_code_and_keep_the_model(
    tmp_path: Path, train: Any, capsys: Captured
) -> None:
    small = SimulatedCamera(seed=7, height=64, width=80)
    whole = fingerprint_model(1)
    cut = replace(whole, camera_id="small", fingerprint=whole.fingerprint[:64, :80].clone())
    put_model(tmp_path, cut)
    put_model(tmp_path, whole)
    few = [put_bytes(tmp_path, "few", "small", small.encode(small.natural(0)))]
    assert train(few + photos(tmp_path, 1, range(3))) == INCOMPLETE
    out = capsys.readouterr().out
    assert "small: 0 images, 0 not used" in out
    assert "camera small: no predictor could be trained" in out
    assert "give more or larger pristine photos" in out
    assert "camera1: 3 images" in out
    assert model(tmp_path, "small").windows == ()
    assert model(tmp_path, "small").digest == cut.digest
    assert model(tmp_path, "camera1").windows


def test_photos_that_cannot_teach_are_named(tmp_path: Path, train: Any, capsys: Captured) -> None:
    rows = photos(tmp_path, 1, range(4))
    part = fingerprint_model(1)
    inside = UsedImage(rows[1].image_id, str(rows[1].sha256), int(rows[1].size or 0))
    put_model(tmp_path, replace(part, reference=(*part.reference, inside)))
    twice = put_bytes(tmp_path, "1-twice", "camera1", Path(rows[0].uri).read_bytes())
    other = SimulatedCamera(seed=1, height=HEIGHT, width=WIDTH - 32)
    odd = put_bytes(tmp_path, "1-odd", "camera1", other.encode(other.natural(9)))
    gone = ManifestRow("1-gone", str(tmp_path / "gone.jpg"), camera_id="camera1")
    broken = put_bytes(tmp_path, "1-broken", "camera1", b"no image")
    assert train([*rows, twice, odd, gone, broken]) == OK
    trained = model(tmp_path, "camera1")
    assert [image.image_id for image in trained.training] == ["1-0", "1-2", "1-3"]
    out = capsys.readouterr().out
    assert "camera1: 3 images, 3 not used" in out
    said = reasons(out)
    assert said.keys() == {"1-1", "1-twice", "1-odd", "1-gone", "1-broken"}
    assert said["1-1"] == "its noise is part of the fingerprint"
    assert said["1-twice"] == "same file as 1-0"
    sizes = f"has {WIDTH - 32}x{HEIGHT} pixels, the fingerprint of camera1 has {WIDTH}x{HEIGHT}"
    assert said["1-odd"].endswith(sizes)
    assert "gone.jpg" in said["1-gone"]


def test_other_predictors_stay_while_the_fingerprint_does(
    tmp_path: Path, train: Any, capsys: Captured
) -> None:
    put_model(tmp_path, trained_model(1))
    whole = model(tmp_path, "camera1")
    own = [LSEPredictor.from_state(deepcopy(w.predictor.state())) for w in whole.windows]
    at_75 = [
        replace(window, jpeg_quality=75, predictor=predictor)
        for window, predictor in zip(whole.windows, own, strict=True)
    ]
    put_model(tmp_path, replace(whole, windows=(*whole.windows, *at_75)))
    assert train(photos(tmp_path, 1, range(3)), image_gain=False) == OK
    found = model(tmp_path, "camera1")
    kept = [window for window in found.windows if window.jpeg_quality == 75]
    new = [window for window in found.windows if window.jpeg_quality is None]
    assert [w.window for w in kept] == [w.window for w in at_75]
    assert [w.sigma1 for w in kept] == [w.sigma1 for w in at_75]
    assert {w.images for w in new} == {3}
    assert not any(w.image_gain for w in new)
    assert all(w.image_gain for w in kept)
    out = capsys.readouterr().out
    assert "camera1: 3 images, 0 not used" in out
    assert out.count("  window ") == len(new)


def test_one_photo_counts_no_false_alarms(tmp_path: Path, train: Any, capsys: Captured) -> None:
    put_model(tmp_path, fingerprint_model(1))
    assert train(photos(tmp_path, 1, range(1))) == OK
    out = capsys.readouterr().out
    assert "false alarms were not counted" in out
    assert "worst false alarm" not in out


def test_other_cameras_lend_photos_or_none(tmp_path: Path, train: Any) -> None:
    rows = photos(tmp_path, 1, range(2)) + photos(tmp_path, 2, range(2))
    theta = {}
    for borrowed in (0, 1, 2):
        for seed in (1, 2):
            put_model(tmp_path, fingerprint_model(seed))
        assert train(rows, borrow=borrowed) == OK
        for name in ("camera1", "camera2"):
            window = model(tmp_path, name).window(64)
            theta[name, borrowed] = window.predictor.state()["theta"].tolist()
    assert theta["camera1", 0] == theta["camera1", 1] != theta["camera1", 2]
    assert theta["camera2", 0] != theta["camera2", 1] == theta["camera2", 2]


def test_a_sample_of_any_quality_trains_any_predictor(tmp_path: Path) -> None:
    """The tasks as jobs.train_predictor uses them."""
    put_model(tmp_path, fingerprint_model(1))
    models = str(tmp_path / "models")
    version = CameraLibrary(models).digest
    samples = [
        sample.remote(models, version, row, 200.0, jpeg_quality=80)
        for row in photos(tmp_path, 1, range(3))
    ]
    task = write_trained.remote(
        models, "camera1", 3, *samples, predictor="ffn", jpeg_quality=80, image_gain=False
    )
    result = ray.get(task)
    assert (result["images"], result["skipped"], result["false_alarms"]) == (3, [], [])
    found = model(tmp_path, "camera1")
    kinds = {(w.predictor.name, w.jpeg_quality, w.image_gain) for w in found.windows}
    assert kinds == {("ffn", 80, False)}
    assert [w["window"] for w in result["windows"]] == [w.window for w in found.windows]


def test_cameras_lend_their_first_photos_in_turn() -> None:
    rows = {
        name: [ManifestRow(f"{name}{n}", "", camera_id=name) for n in range(count)]
        for name, count in {"a": 1, "b": 3, "c": 40}.items()
    }
    lent = [row.image_id for row in borrow(rows, 16)]
    assert lent[:7] == ["a0", "b0", "c0", "b1", "c1", "b2", "c2"]
    assert len(lent) == 16
    assert borrow(rows, 0) == []
