"""The fingerprint job: which images are used, which are named and why, what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from mlflow import MlflowClient
from pydantic import ValidationError

from forensics.decode import decode
from forensics.prnu.camera_model import CameraModel
from forensics.prnu.fingerprint import FingerprintAccumulator
from forensics.prnu.library import CameraLibrary
from forensics.records import ManifestRow, UserError
from jobs.cameras import write_model
from jobs.cluster import PoolSettings
from jobs.entry import INCOMPLETE, OK
from jobs.fingerprint import FingerprintJob, by_camera, fingerprint
from jobs.tracking import TrackingSettings
from tests.jobs.photos import HEIGHT, WIDTH, flat, manifest_of, put, put_bytes
from tests.prnu.cameras import trained_model

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_local")]

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def make(tmp_path: Path, store: str) -> Any:
    """Runs the job on some rows into ``models``; returns its exit code."""

    def run(rows: list[ManifestRow], **changes: Any) -> int:
        values: dict[str, Any] = {
            "manifest": manifest_of(tmp_path, rows),
            "output": str(tmp_path / "models"),
            "images_per_task": 2,
            "pool": PoolSettings(workers=2),
            "tracking": TrackingSettings(uri=store, experiment=tmp_path.name),
            **changes,
        }
        return fingerprint(FingerprintJob(**values))

    return run


def flats(folder: Path, camera_id: str | None, numbers: range, seed: int = 1) -> list[ManifestRow]:
    names = {number: f"{camera_id}-{number}" for number in numbers}
    return [put(folder, names[n], camera_id, flat(seed, n)) for n in numbers]


def model(folder: Path, camera_id: str, name: str = "models") -> CameraModel:
    return CameraLibrary(str(folder / name)).model(camera_id)


def names(found: CameraModel) -> list[str]:
    return [image.image_id for image in found.reference]


def test_a_fingerprint_is_that_of_its_images(tmp_path: Path, make: Any, capsys: Captured) -> None:
    rows = flats(tmp_path, "a", range(5)) + flats(tmp_path, "b", range(3), seed=2)
    assert make(rows[::-1]) == OK
    assert make(rows, output=str(tmp_path / "again"), images_per_task=5) == OK
    out = capsys.readouterr().out
    assert f"a: 5 images, {WIDTH}x{HEIGHT}, 0 not used" in out
    assert f"b: 3 images, {WIDTH}x{HEIGHT}, 0 not used" in out
    assert "8/8 images" in out

    found = model(tmp_path, "a")
    assert names(found) == [row.image_id for row in rows[:5]]
    assert [image.sha256 for image in found.reference] == [row.sha256 for row in rows[:5]]
    sums = FingerprintAccumulator()
    for row in rows[:5]:
        sums.update(decode(Path(row.uri).read_bytes()).pixels)
    expected = torch.as_tensor(sums.compute())
    for name in ("models", "again"):
        found = model(tmp_path, "a", name)
        assert (found.fingerprint - expected).abs().max() < 1e-5 * expected.std()


def test_mlflow_has_what_was_used_and_what_was_not(tmp_path: Path, make: Any, store: str) -> None:
    rows = flats(tmp_path, "a", range(3)) + flats(tmp_path, "b", range(2), seed=2)
    Path(rows[1].uri).unlink()
    assert make(rows) == OK
    client = MlflowClient(store)
    experiment = client.get_experiment_by_name(tmp_path.name)
    assert experiment is not None
    [run] = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params["images_per_task"] == "2"
    used = client.get_metric_history(run.info.run_id, "images.used")
    assert [metric.value for metric in sorted(used, key=lambda m: m.step)] == [2, 2]
    text = Path(run.info.artifact_uri.removeprefix("file://"), "cameras.json").read_text()
    cameras = {camera["camera_id"]: camera for camera in json.loads(text)}
    assert list(cameras["a"]["skipped"]) == ["a-1"]
    assert cameras["b"]["digest"] == model(tmp_path, "b").digest


def test_the_size_of_most_images_counts(tmp_path: Path, make: Any, capsys: Captured) -> None:
    upright = [put(tmp_path, f"up-{n}", "a", flat(1, n).swapaxes(0, 1)) for n in (7, 8)]
    rows = upright + flats(tmp_path, "a", range(3))
    assert make(rows) == OK
    assert names(model(tmp_path, "a")) == ["a-0", "a-1", "a-2"]
    out = capsys.readouterr().out
    assert f"a: 3 images, {WIDTH}x{HEIGHT}, 2 not used" in out
    for n in (7, 8):
        assert f"  up-{n}: has {HEIGHT}x{WIDTH} pixels, the fingerprint {WIDTH}x{HEIGHT}" in out


def test_images_that_cannot_be_used_are_named(tmp_path: Path, make: Any, capsys: Captured) -> None:
    good = flats(tmp_path, "a", range(2))
    broken = put_bytes(tmp_path, "broken", "a", b"no image")
    gone = ManifestRow("gone", str(tmp_path / "gone.jpg"), camera_id="a")
    assert make([*good, broken, gone]) == OK
    assert names(model(tmp_path, "a")) == ["a-0", "a-1"]
    out = capsys.readouterr().out
    assert f"a: 2 images, {WIDTH}x{HEIGHT}, 2 not used" in out
    reasons = dict(line.strip().split(": ", 1) for line in out.splitlines() if line[:2] == "  ")
    assert reasons.keys() == {"broken", "gone"}
    assert reasons["broken"]
    assert "gone.jpg" in reasons["gone"]


def test_a_camera_without_a_usable_image_sets_the_exit_code(
    tmp_path: Path, make: Any, capsys: Captured
) -> None:
    broken = put_bytes(tmp_path, "broken", "a", b"no image")
    assert make([broken, *flats(tmp_path, "b", range(2))]) == INCOMPLETE
    assert not (tmp_path / "models" / "a").exists()
    assert names(model(tmp_path, "b")) == ["b-0", "b-1"]
    assert "a: 0 images, 1 not used\n  broken: " in capsys.readouterr().out


def test_images_without_a_camera_are_refused(tmp_path: Path, make: Any) -> None:
    rows = flats(tmp_path, "a", range(1)) + flats(tmp_path, None, range(2))
    with pytest.raises(UserError, match=r"2 images have no camera_id \(first: None-0\)"):
        make(rows)
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize(
    "camera_id", ["../x", "..", ".hidden", "a/b", "a\\b", "a b", "/etc", "-rf", "x" * 129, "ü"]
)
def test_a_camera_id_that_leads_elsewhere_is_refused(tmp_path: Path, camera_id: str) -> None:
    uri = manifest_of(tmp_path, [ManifestRow("one", "one.jpg", camera_id=camera_id)])
    with pytest.raises(UserError, match=r"\(image one\) cannot name a folder") as raised:
        by_camera(uri)
    assert repr(camera_id) in str(raised.value)


@pytest.mark.parametrize("camera_id", ["a", "0", "Canon-EOS_5D.2", "x" * 128, "a..b"])
def test_other_camera_ids_are_accepted(tmp_path: Path, camera_id: str) -> None:
    rows = [ManifestRow(name, name, camera_id=camera_id) for name in ("two", "one")]
    found = by_camera(manifest_of(tmp_path, rows))
    assert {name: [row.image_id for row in of] for name, of in found.items()} == {
        camera_id: ["one", "two"]
    }


def test_an_existing_fingerprint_is_refused_extended_or_replaced(
    tmp_path: Path, make: Any, capsys: Captured
) -> None:
    first, second = flats(tmp_path, "a", range(2)), flats(tmp_path, "a", range(2, 5))
    assert make(first) == OK
    before = {path: path.read_bytes() for path in (tmp_path / "models").rglob("*.*")}

    new = flats(tmp_path, "0", range(1), seed=2)  # comes first, and is not made either
    with pytest.raises(UserError, match=r"set existing to extend .* or to replace"):
        make(second + new)
    after = {path: path.read_bytes() for path in (tmp_path / "models").rglob("*.*")}
    assert after == before

    capsys.readouterr()
    assert make(first + second, existing="extend") == OK
    out = capsys.readouterr().out
    assert f"a: 5 images, {WIDTH}x{HEIGHT}, 2 not used" in out
    assert "  a-0: is in the fingerprint already" in out
    extended = model(tmp_path, "a")
    assert names(extended) == [f"a-{n}" for n in range(5)]
    assert make(first + second, output=str(tmp_path / "whole")) == OK
    whole = model(tmp_path, "a", "whole").fingerprint
    error = (extended.fingerprint - whole).abs().max()
    assert error < 1e-5 * whole.std()

    assert make(second, existing="replace") == OK
    assert names(model(tmp_path, "a")) == ["a-2", "a-3", "a-4"]


def test_predictors_go_with_their_fingerprint(tmp_path: Path, make: Any, capsys: Captured) -> None:
    first, second = flats(tmp_path, "a", range(2)), flats(tmp_path, "a", range(2, 4))
    assert make(first) == OK
    window = trained_model(1).window(64)
    write_model(str(tmp_path / "models" / "a"), replace(model(tmp_path, "a"), windows=(window,)))
    again = "belonged to the earlier fingerprint and are gone: run jobs.camera_model"
    assert make(first, existing="replace") == OK  # the same fingerprint once more
    assert [w.window for w in model(tmp_path, "a").windows] == [64]
    assert again not in capsys.readouterr().out
    assert make(second, existing="replace") == OK
    assert model(tmp_path, "a").windows == ()
    assert again in capsys.readouterr().out


def test_a_damaged_model_can_be_replaced(tmp_path: Path, make: Any) -> None:
    rows = flats(tmp_path, "a", range(2))
    assert make(rows) == OK
    for path in (tmp_path / "models" / "a").iterdir():
        path.write_bytes(b"damaged")
    assert make(rows, existing="replace") == OK
    assert names(model(tmp_path, "a")) == ["a-0", "a-1"]


def test_extending_keeps_the_size(tmp_path: Path, make: Any, capsys: Captured) -> None:
    assert make(flats(tmp_path, "a", range(2))) == OK
    before = model(tmp_path, "a").digest
    upright = [put(tmp_path, f"up-{n}", "a", flat(1, n).swapaxes(0, 1)) for n in (7, 8, 9)]
    assert make(upright, existing="extend") == OK
    assert model(tmp_path, "a").digest == before
    assert f"  up-7: has {HEIGHT}x{WIDTH} pixels, the fingerprint" in capsys.readouterr().out


def test_an_unknown_way_with_existing_ones_is_refused() -> None:
    with pytest.raises(ValidationError, match="'refuse', 'extend' or 'replace'"):
        FingerprintJob(manifest="m", output="o", existing="overwrite")


def test_extending_with_another_filter_is_refused(tmp_path: Path, make: Any) -> None:
    assert make(flats(tmp_path, "a", range(2))) == OK
    with pytest.raises(UserError, match="sigma"):
        make(flats(tmp_path, "a", range(2, 4)), existing="extend", sigma=3.0)
