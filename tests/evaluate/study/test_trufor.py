"""Images judged by networks whose answers are known, against the protocol counted by hand."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import safetensors.torch
from numpy.typing import NDArray
from PIL import Image

from forensics.evaluate.study.laundering import Laundering
from forensics.evaluate.study.trufor import (
    RECORDS,
    Checkpoints,
    TruForStudy,
    evaluate_image,
    open_localizer,
)
from forensics.records import ManifestRow, UserError
from forensics.trufor.blind import BlindLocalizer
from forensics.trufor.checkpoint import to_safetensors
from forensics.trufor.noiseprint import Noiseprint
from forensics.trufor.predictor import Prediction, TruFor
from tests.evaluate.runs import write_mask
from tests.trufor.networks import tiny_network

HEIGHT, WIDTH = 60, 80
FORGED = slice(10, 40), slice(20, 60)  # 30 x 40 pixels
INSIDE = slice(17, 33), slice(27, 53)  # eroded by a square of 15
AROUND = slice(5, 45), slice(15, 65)  # dilated by a square of 11


class Known:
    """A network that answers with a map made before, at any size."""

    min_side = 29

    def __init__(self, anomaly: NDArray[np.float32], score: float = 0.25) -> None:
        self.anomaly, self.score = anomaly, score
        self.asked: list[NDArray[np.uint8]] = []

    def predict(self, rgb: NDArray[np.uint8]) -> Prediction[Any]:
        self.asked.append(rgb)
        height, width = rgb.shape[:2]
        y = np.arange(height) * self.anomaly.shape[0] // height
        x = np.arange(width) * self.anomaly.shape[1] // width
        plane = self.anomaly[y[:, None], x]
        return Prediction(plane, np.full_like(plane, 0.75), self.score, plane)


def anomaly(called: tuple[slice, slice], high: float = 0.9, low: float = 0.2) -> Any:
    values = np.full((HEIGHT, WIDTH), low, np.float32)
    values[called] = high
    return values


def put(folder: Path, label: str = "forged", mask: bool = True) -> ManifestRow:
    rgb = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    path = folder / "image.png"
    Image.fromarray(rgb).save(path)
    row = ManifestRow("a", str(path), label=label, source="set")
    if not mask:
        return row
    forged = np.zeros((HEIGHT, WIDTH), np.bool_)
    forged[FORGED] = True
    return replace(row, mask_uri=write_mask(folder / "mask.png", forged))


def study(*checkpoints: str, **launderings: Laundering) -> TruForStudy:
    names = checkpoints or ("one",)
    values: dict[str, Any] = {"checkpoints": {name: f"{name}.safetensors" for name in names}}
    return TruForStudy(**values, **({"launderings": launderings} if launderings else {}))


def judged(asked: TruForStudy, row: ManifestRow, **networks: Any) -> list[dict[str, Any]]:
    found = evaluate_image(asked, row, networks, "cpu")
    assert found.schema.equals(RECORDS)
    rows: list[dict[str, Any]] = found.to_pylist()
    return rows


def test_pixels_near_the_border_do_not_count(tmp_path: Path) -> None:
    """A map that is right but for the pixels left out is perfect."""
    for called in (INSIDE, AROUND):
        [found] = judged(study(), put(tmp_path), one=Known(anomaly(called)))
        assert (found["f1_best"], found["f1_fixed"], found["pixel_auc"]) == (1, 1, 1)
    assert (found["score"], found["confidence_mean"]) == (0.25, 0.75)
    assert found["map_max"] == pytest.approx(0.9)
    assert found["map_mean"] == pytest.approx((2000 * 0.9 + 2800 * 0.2) / 4800)
    assert (found["status"], found["reason"], found["laundering"]) == ("ok", None, "original")


def test_the_threshold_is_fixed_or_the_best_one(tmp_path: Path) -> None:
    half = slice(17, 25), slice(27, 53)  # of what counts as forged
    values = anomaly(INSIDE, high=0.4)
    values[half] = 0.9
    [found] = judged(study(), put(tmp_path), one=Known(values))
    assert found["f1_best"] == 1  # at 0.3
    assert found["f1_fixed"] == pytest.approx(2 * 208 / (2 * 208 + 208))


def test_an_inverted_map_counts_as_its_inverse(tmp_path: Path) -> None:
    inverted = 1 - anomaly(AROUND)
    [found] = judged(study(), put(tmp_path), one=Known(inverted))
    assert (found["f1_best"], found["f1_fixed"]) == (1, 1)
    assert found["pixel_auc"] == 0  # which is not turned round


@pytest.mark.parametrize(
    ("label", "mask"), [("pristine", False), ("pristine", True), ("forged", False)]
)
def test_without_forged_pixels_an_image_counts_for_detection(
    tmp_path: Path, label: str, mask: bool
) -> None:
    [found] = judged(study(), put(tmp_path, label, mask), one=Known(anomaly(INSIDE)))
    assert found["status"] == "ok"
    assert found["score"] == 0.25
    assert found["f1_best"] is found["f1_fixed"] is found["pixel_auc"] is None


def test_a_mask_that_the_border_eats_up_is_said_and_the_score_kept(tmp_path: Path) -> None:
    row = put(tmp_path)
    thin = np.zeros((HEIGHT, WIDTH), np.bool_)
    thin[20:34, 20:60] = True  # 14 pixels high: one less than the square
    row = replace(row, mask_uri=write_mask(tmp_path / "thin.png", thin))
    [found] = judged(study(), row, one=Known(anomaly(INSIDE)))
    assert (found["status"], found["f1_fixed"], found["score"]) == ("ok", None, 0.25)
    assert found["reason"] == "no pixel of the mask is away from its border"


def test_every_checkpoint_sees_every_laundering(tmp_path: Path) -> None:
    small = Laundering(scale=0.75, jpeg_quality=80)
    one, other = Known(anomaly(INSIDE)), Known(1 - anomaly(INSIDE), score=0.75)
    found = judged(study("one", "other", plain=Laundering(), small=small), put(tmp_path),
                   one=one, other=other)  # fmt: skip
    axes = [(row["checkpoint"], row["laundering"], row["score"]) for row in found]
    assert axes == [
        ("one", "plain", 0.25), ("other", "plain", 0.75),
        ("one", "small", 0.25), ("other", "small", 0.75),
    ]  # fmt: skip
    assert [rgb.shape[:2] for rgb in one.asked] == [(60, 80), (45, 60)]
    assert np.array_equal(one.asked[1], small.apply(one.asked[0]))
    assert [row["pixel_auc"] for row in found] == [1, 0, 1, 0]


def test_what_goes_wrong_stays_with_its_variant(tmp_path: Path) -> None:
    asked = study(plain=Laundering(), tiny=Laundering(scale=0.4))
    plain, tiny = judged(asked, put(tmp_path), one=Known(anomaly(INSIDE)))
    assert plain["status"] == "ok"
    assert (tiny["status"], tiny["reason"]) == (
        "not_applicable",
        "32x24 pixels are fewer than 29 a side",
    )
    broken = SimpleNamespace(min_side=1, predict=lambda _: 1 / 0)
    good, bad = judged(study("one", "two"), put(tmp_path), one=Known(anomaly(INSIDE)), two=broken)
    assert (good["status"], bad["status"]) == ("ok", "failed")
    assert "division by zero" in bad["reason"]


@pytest.mark.parametrize(
    ("change", "status", "reason"),
    [
        ({"label": None}, "not_applicable", "the label is None, neither forged nor pristine"),
        ({"uri": "gone.png"}, "unreadable", "gone.png"),
        ({"sha256": "0" * 64}, "failed", "the file has changed"),
        ({"mask_uri": "gone.png"}, "failed", "mask gone.png"),
    ],
)
def test_images_that_cannot_be_judged_say_why(
    tmp_path: Path, change: dict[str, Any], status: str, reason: str
) -> None:
    [found] = judged(study(), replace(put(tmp_path), **change), one=Known(anomaly(INSIDE)))
    assert found["status"] == status
    assert reason in found["reason"]
    assert found["score"] is None


def test_weights_that_change_meanwhile_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(to_safetensors(tiny_network()))
    digest = TruFor.from_checkpoint(str(path)).digest
    assert digest is not None
    tools = Checkpoints((("one", str(path), digest),), "float32")
    assert tools.open("cpu")["one"].digest == tools.identity["checkpoint.one"] == digest
    path.write_bytes(to_safetensors(tiny_network(seed=1)))
    with pytest.raises(UserError, match="changed while they were in use"):
        tools.open("cpu")


def test_noiseprint_alone_is_judged_by_the_blind_localizer(tmp_path: Path) -> None:
    alone = {name: t.clone() for name, t in Noiseprint(depth=3, channels=4).state_dict().items()}
    files = {"noise": safetensors.torch.save(alone), "whole": to_safetensors(tiny_network(0))}
    found = {name: open_localizer(data, name) for name, data in files.items()}
    assert isinstance(found["noise"], BlindLocalizer)
    assert isinstance(found["whole"], TruFor)
    assert [one.digest for one in found.values()] == [
        hashlib.sha256(data).hexdigest() for data in files.values()
    ]
    small, large = put(tmp_path), tmp_path / "large.png"
    Image.open(small.uri).resize((160, 120)).save(large)
    row = replace(small, uri=str(large), mask_uri=None)
    noise, whole = judged(study("noise", "whole"), row, **found)
    assert (noise["status"], noise["confidence_mean"]) == ("ok", None)
    assert 0 <= noise["score"] <= 1
    assert whole["confidence_mean"] is not None
    noise, _ = judged(study("noise", "whole"), small, **found)
    assert (noise["status"], noise["reason"]) == (
        "not_applicable",
        f"{WIDTH}x{HEIGHT} pixels are fewer than 64 a side",
    )
    with pytest.raises(UserError, match="odd"):
        open_localizer(b"odd", "odd")
