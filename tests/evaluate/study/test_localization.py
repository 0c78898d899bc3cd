"""Images counted in every variant, against counts over all pixels made another way."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image

from forensics.evaluate.metrics import away_from_border, confusion
from forensics.evaluate.scan import THRESHOLDS
from forensics.evaluate.study.localization import RECORDS, count, evaluate_image
from forensics.evaluate.study.settings import LocalizationStudy
from forensics.localize.crf import CRFSettings, rgb_at, segment
from forensics.localize.signals import Signals
from forensics.localize.threshold import stm
from forensics.localize.windows import sliding_window
from forensics.prnu.library import CameraLibrary
from forensics.prnu.residual import gray, noise_residual
from forensics.records import ManifestRow
from tests.evaluate.study.archive import (
    TRAINED,
    at_quality,
    only,
    put_model,
    put_photo,
    put_splice,
    used,
)
from tests.prnu.cameras import HEIGHT, WIDTH, photo, trained_model

NEW = TRAINED + 1
STRIDE = 16


def study(**changes: Any) -> LocalizationStudy:
    values = {
        "camera_models": "m",
        "predictors": ("lse",),
        "decisions": ("threshold",),
        "stride": STRIDE,
        **changes,
    }
    return LocalizationStudy(**values)


def evaluated(asked: LocalizationStudy, row: ManifestRow, library: CameraLibrary) -> pa.Table:
    found = evaluate_image(asked, "count", row, library)
    assert found.schema.equals(RECORDS)
    return found


def rows_of(table: pa.Table) -> list[dict[str, Any]]:
    return table.to_pylist()


@pytest.fixture(scope="module")
def splice(tmp_path_factory: pytest.TempPathFactory) -> ManifestRow:
    return put_splice(tmp_path_factory.mktemp("splice"), "splice", 1, NEW, donor=2)


def pixels_of(row: ManifestRow) -> torch.Tensor:
    return torch.from_numpy(np.array(Image.open(row.uri)))


def mask_of(row: ManifestRow) -> np.ndarray[Any, np.dtype[np.bool_]]:
    assert row.mask_uri is not None
    return np.array(Image.open(row.mask_uri)) > 127


@pytest.mark.parametrize("decision", ["threshold", "stm", "crf"])
def test_counts_are_those_of_the_decision_at_the_size_of_the_image(
    library: CameraLibrary, splice: ManifestRow, decision: str
) -> None:
    found = rows_of(evaluated(study(decisions=(decision,)), splice, library))
    assert [r["tau"] for r in found] == THRESHOLDS.tolist()
    model, rgb = trained_model(1), pixels_of(splice)
    signals = Signals(rgb, noise_residual(rgb), model.fingerprint * gray(rgb))
    maps = sliding_window(signals, model.window(128), STRIDE)
    probability, colours = maps.probability.numpy(), rgb_at(rgb, STRIDE).numpy()
    for r in found[::5]:
        decided = {
            "threshold": lambda tau: probability > tau,
            "stm": lambda tau: stm(probability, STRIDE, tau),
            "crf": lambda tau: segment(probability, colours, tau),
        }[decision](r["tau"])
        full = np.kron(decided, np.ones((STRIDE, STRIDE)))[:HEIGHT, :WIDTH]
        expected = confusion(full, mask_of(splice))
        assert (r["tp"], r["fp"], r["fn"], r["tn"]) == (
            expected.tp,
            expected.fp,
            expected.fn,
            expected.tn,
        )
    assert found[0]["models"] == "lse@128"
    assert found[0]["gain"] == pytest.approx(maps.gain)
    assert {r["status"] for r in found} == {"ok"}
    assert max(2 * r["tp"] / (2 * r["tp"] + r["fp"] + r["fn"]) for r in found) > 0.4


def test_all_strategies_and_single_scales(library: CameraLibrary, splice: ManifestRow) -> None:
    names = ("sw-ss", "sw-sg", "sw-ms", "s-slic", "m-slic")
    asked = study(strategies=names, slic_sides=(64, 128), predictors=("best",))
    table = evaluated(asked, splice, library)
    found = rows_of(table)
    assert [r["strategy"] for r in found[:: THRESHOLDS.size]] == [
        *names,
        "slic-64px",
        "slic-128px",
    ]
    assert {r["status"] for r in found} == {"ok"}
    for r in found:
        assert r["tp"] + r["fn"] == mask_of(splice).sum()
        assert r["fp"] + r["tn"] == (~mask_of(splice)).sum()
        assert r["seconds"] > 0
    assert len({tuple(r["tp"] for r in found[i : i + 24]) for i in range(0, len(found), 24)}) == 7
    assert found[-1]["models"] == "lse@32 lse@48 lse@64 lse@96 lse@128 lse@192 lse@256"


def test_the_random_field_of_the_settings_decides(
    library: CameraLibrary, splice: ManifestRow
) -> None:
    def tampered(alpha: float) -> list[int]:
        asked = study(decisions=("crf",), crf=CRFSettings(alpha=alpha))
        return [r["tp"] + r["fp"] for r in rows_of(evaluated(asked, splice, library))]

    eager, default, reluctant = tampered(-2), tampered(-1), tampered(1)
    assert all(a >= b >= c for a, b, c in zip(eager, default, reluctant, strict=True))
    assert sum(eager) > sum(default) > sum(reluctant) > 0


def test_pristine_photos_have_only_false_alarms(library: CameraLibrary, tmp_path: Path) -> None:
    row = put_photo(tmp_path, "pristine", photo(1, NEW), "camera1")
    for r in rows_of(evaluated(study(), row, library)):
        assert (r["tp"], r["fn"], r["label"]) == (0, 0, "pristine")
        assert r["fp"] + r["tn"] == HEIGHT * WIDTH


def test_a_crop_is_found_on_the_sensor(library: CameraLibrary, tmp_path: Path) -> None:
    crop = put_photo(tmp_path, "crop", photo(1, NEW)[16:336, 32:480], "camera1")
    found = rows_of(evaluated(study(), crop, library))
    whole = rows_of(
        evaluated(study(), put_photo(tmp_path, "whole", photo(1, NEW), "camera1"), library)
    )
    assert {r["status"] for r in found} == {"ok"}
    assert found[0]["gain"] == pytest.approx(whole[0]["gain"], abs=0.1)
    foreign = put_photo(tmp_path, "foreign", photo(2, NEW)[16:336, 32:480], "camera1")
    [gone] = rows_of(evaluated(study(), foreign, library))
    assert "not found on the sensor" in gone["reason"]


def test_qualities_with_and_without_retraining(splice: ManifestRow, tmp_path: Path) -> None:
    put_model(tmp_path, at_quality(trained_model(1), 80))
    library = CameraLibrary(str(tmp_path / "models"))
    asked = study(jpeg_qualities=(None, 80, 60), retrained=(False, True))
    found = rows_of(evaluated(asked, splice, library))
    by_variant = {(r["jpeg_quality"], r["retrained"]): r for r in found}
    assert len(by_variant) == 6
    gone = by_variant.pop((60, True))
    assert gone["reason"] == "camera camera1 has no lse predictor for JPEG quality 60"
    assert {r["status"] for r in by_variant.values()} == {"ok"}
    assert by_variant[None, False]["gain"] > by_variant[60, False]["gain"]


def test_one_variant_abstains_and_the_others_go_on(splice: ManifestRow, tmp_path: Path) -> None:
    put_model(tmp_path, only(trained_model(1), (64, 96)))
    library = CameraLibrary(str(tmp_path / "models"))
    asked = study(predictors=("ffn", "lse"), strategies=("sw-ss", "s-slic"))
    found = rows_of(evaluated(asked, splice, library))
    assert [r["status"] for r in found] == ["not_applicable"] * 3 + ["ok"] * 24
    assert found[2]["reason"] == "camera camera1 has no lse predictor for windows of 128 px"
    assert all(r["tau"] is None and r["tp"] is None for r in found[:3])


def test_what_has_no_truth_or_a_bad_mask_says_so(
    library: CameraLibrary, splice: ManifestRow, tmp_path: Path
) -> None:
    small = tmp_path / "small.png"
    Image.new("L", (5, 5), 255).save(small)
    cases = {
        "the label is None": replace(splice, label=None),
        "names no mask": replace(splice, mask_uri=None),
        "5x5 pixels, the image has": replace(splice, mask_uri=str(small)),
        "no camera model of": replace(splice, camera_id="stranger"),
    }
    found = [rows_of(evaluated(study(), row, library)) for row in cases.values()]
    assert [len(rows) for rows in found] == [1] * 4
    assert [rows[0]["status"] for rows in found] == [
        "not_applicable",
        "not_applicable",
        "failed",
        "not_applicable",
    ]
    for message, [r] in zip(cases, found, strict=True):
        assert message in r["reason"]


def test_photos_behind_the_camera_model_are_left_out(tmp_path: Path) -> None:
    seen = put_photo(tmp_path, "seen", photo(1, 0), "camera1")
    flat = put_photo(tmp_path, "flat", photo(1, 1), "camera1")
    model = replace(trained_model(1), training=(used(seen),), reference=(used(flat),))
    put_model(tmp_path, model)
    library = CameraLibrary(str(tmp_path / "models"))
    reasons = [rows_of(evaluated(study(), row, library))[0]["reason"] for row in (seen, flat)]
    assert reasons == [
        "the camera model was trained on this photo",
        "its noise is part of the fingerprint",
    ]


def test_the_border_can_be_left_out(library: CameraLibrary, splice: ManifestRow) -> None:
    [first, *_] = rows_of(evaluate_image(study(), "trufor", splice, library))
    mask = mask_of(splice)
    valid = away_from_border(mask)
    assert first["tp"] + first["fn"] == (mask & valid).sum()
    assert first["fp"] + first["tn"] == (~mask & valid).sum()


def test_a_map_that_does_not_fit_its_mask_is_refused() -> None:
    ones = np.ones((2, 2), np.int64)
    with pytest.raises(ValueError, match=r"map of \(1, 2\) cells"):
        count(np.ones((1, 2), bool), ones, ones)
