"""Blocks of photos: what is measured, what is predicted, who abstains."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pytest
import torch

from forensics.evaluate.study.prediction import RECORDS, evaluate_image
from forensics.evaluate.study.settings import PredictionStudy
from forensics.localize.signals import Signals
from forensics.localize.windows import dense_prediction
from forensics.prnu.camera_model import CameraModel
from forensics.prnu.library import CameraLibrary
from forensics.prnu.predictors import PREDICTORS
from forensics.prnu.recompress import recompress
from forensics.prnu.residual import gray, noise_residual
from forensics.records import ManifestRow
from tests.evaluate.study.archive import TRAINED, at_quality, put_model, put_photo, used
from tests.prnu.cameras import photo, trained_model

NEW = TRAINED + 1


def study(**changes: Any) -> PredictionStudy:
    values = {"camera_models": "m", "predictors": ("lse",), "blocks_per_image": 12, **changes}
    return PredictionStudy(**values)


def rows_of(table: pa.Table) -> list[dict[str, Any]]:
    assert table.schema.equals(RECORDS)
    return table.to_pylist()


@pytest.fixture
def row(tmp_path: Path) -> ManifestRow:
    return put_photo(tmp_path, "new", photo(1, NEW), "camera1")


def test_blocks_are_measured_and_predicted_as_in_a_dense_map(
    library: CameraLibrary, row: ManifestRow
) -> None:
    found = rows_of(evaluate_image(study(), row, library))
    model = trained_model(1)
    rgb = torch.from_numpy(photo(1, NEW).copy())
    signals = Signals(rgb, noise_residual(rgb), model.fingerprint * gray(rgb))
    dense = dense_prediction(signals, model.window(128), stride=1)
    assert len(found) == 12
    assert len({(r["y"], r["x"]) for r in found}) == 12
    for block in found:
        place = slice(block["y"], block["y"] + 128), slice(block["x"], block["x"] + 128)
        w, z = signals.W[place].numpy().ravel(), signals.Z[place].numpy().ravel()
        assert block["rho"] == pytest.approx(np.corrcoef(w, z)[0, 1], abs=1e-5)
        at_centre = float(dense[block["y"] + 64, block["x"] + 64])
        assert block["rho_hat"] == pytest.approx(at_centre, abs=1e-5)
        assert (block["status"], block["seen"], block["camera_id"]) == ("ok", False, "camera1")
        assert 0 <= block["saturation"] <= 1


def test_every_variant_sees_the_same_blocks_of_its_own_pixels(
    library: CameraLibrary, row: ManifestRow, tmp_path: Path
) -> None:
    found = rows_of(evaluate_image(study(jpeg_qualities=(None, 70)), row, library))
    places = [(r["y"], r["x"]) for r in found]
    assert places[:12] == places[12:]
    assert [r["jpeg_quality"] for r in found] == [None] * 12 + [70] * 12
    rho = np.array([r["rho"] for r in found])
    assert rho[12:].mean() < rho[:12].mean()  # compression removes some of the fingerprint
    again = put_photo(tmp_path, "new", recompress(photo(1, NEW), 70), "camera1")
    direct = rows_of(evaluate_image(study(), again, library))
    assert [r["rho"] for r in direct] == rho[12:].tolist()
    other = rows_of(evaluate_image(study(seed=1), row, library))
    assert [(r["y"], r["x"]) for r in other] != places[:12]


def test_photos_of_the_training_are_left_out_or_flagged(tmp_path: Path) -> None:
    row = put_photo(tmp_path, "seen", photo(1, 0), "camera1")
    put_model(tmp_path, replace(trained_model(1), training=(used(row),)))
    library = CameraLibrary(str(tmp_path / "models"))
    [found] = rows_of(evaluate_image(study(), row, library))
    assert (found["status"], found["rho"]) == ("not_applicable", None)
    assert found["reason"] == "the camera model was trained on this photo"
    flagged = rows_of(evaluate_image(study(include_training=True), row, library))
    assert [r["seen"] for r in flagged] == [True] * 12


class BrightestRed:
    """A predictor that needs the pixels themselves."""

    name: ClassVar[str] = "cnn"
    window: int | None = 128

    def predict(self, blocks: torch.Tensor) -> torch.Tensor:
        return blocks[..., 0].flatten(1).max(dim=1).values.float() / 1000 - 0.2

    def state(self) -> dict[str, torch.Tensor]:
        return {}

    @classmethod
    def from_state(cls, _: Mapping[str, torch.Tensor]) -> BrightestRed:
        return cls()


def with_pixels(model: CameraModel) -> CameraModel:
    [window] = [w for w in model.windows if w.window == 128]
    return replace(model, windows=(*model.windows, replace(window, predictor=BrightestRed())))


def test_predictors_of_pixels_get_the_blocks(
    tmp_path: Path, row: ManifestRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PREDICTORS, "cnn", BrightestRed)
    put_model(tmp_path, with_pixels(trained_model(1)))
    library = CameraLibrary(str(tmp_path / "models"))
    found = rows_of(evaluate_image(study(predictors=("cnn",)), row, library))
    for block in found:
        y, x = block["y"], block["x"]
        red = photo(1, NEW)[y : y + 128, x : x + 128, 0].max()
        assert block["rho_hat"] == pytest.approx(max(red / 1000 - 0.2, 0), abs=1e-6)


def test_a_predictor_that_is_missing_costs_only_its_variant(
    library: CameraLibrary, row: ManifestRow
) -> None:
    found = rows_of(evaluate_image(study(predictors=("cnn", "lse")), row, library))
    assert [r["status"] for r in found] == ["not_applicable"] + ["ok"] * 12
    assert "camera1 has no cnn predictor" in found[0]["reason"]
    retrained = study(jpeg_qualities=(80,), retrained=(True,))
    [gone] = rows_of(evaluate_image(retrained, row, library))
    assert gone["reason"] == "camera camera1 has no lse predictor for JPEG quality 80"


def test_the_predictor_of_a_quality_is_used_when_asked_for(
    tmp_path: Path, row: ManifestRow
) -> None:
    put_model(tmp_path, at_quality(trained_model(1), 80))
    library = CameraLibrary(str(tmp_path / "models"))
    both = study(jpeg_qualities=(80,), retrained=(False, True))
    found = rows_of(evaluate_image(both, row, library))
    assert [(r["retrained"], r["status"]) for r in found] == [(False, "ok")] * 12 + [
        (True, "ok")
    ] * 12


@pytest.mark.parametrize(
    ("changes", "status", "reason"),
    [
        ({"label": "forged"}, "not_applicable", "the photo is forged"),
        ({"camera_id": None}, "not_applicable", "names no camera"),
        ({"camera_id": "stranger"}, "not_applicable", "no camera model of stranger"),
        ({"sha256": "0" * 64}, "failed", "the file has changed"),
        ({"uri": "/nowhere/x.png"}, "unreadable", "/nowhere/x.png"),
    ],
)
def test_what_cannot_be_judged_says_why_in_every_variant(
    library: CameraLibrary, row: ManifestRow, changes: dict[str, Any], status: str, reason: str
) -> None:
    asked = study(jpeg_qualities=(None, 90))
    found = rows_of(evaluate_image(asked, replace(row, **changes), library))
    assert [r["status"] for r in found] == [status] * 2
    assert [r["jpeg_quality"] for r in found] == [None, 90]
    assert all(reason in r["reason"] for r in found)


def test_odd_images_abstain(library: CameraLibrary, tmp_path: Path) -> None:
    crop = put_photo(tmp_path, "crop", photo(1, NEW)[:100, :300], "camera1")
    larger = put_photo(tmp_path, "larger", np.zeros((400, 512, 3), np.uint8), "camera1")
    black = put_photo(tmp_path, "black", np.zeros((384, 512, 3), np.uint8), "camera1")
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    hashed = hashlib.sha256(b"no image").hexdigest()
    rows = [crop, larger, black, replace(black, uri=str(broken), sha256=hashed)]
    found = [rows_of(evaluate_image(study(), r, library))[0] for r in rows]
    assert [r["status"] for r in found] == ["not_applicable"] * 3 + ["unreadable"]
    assert "do not fit the fingerprint" in found[1]["reason"]
    assert "constant" in found[2]["reason"]
