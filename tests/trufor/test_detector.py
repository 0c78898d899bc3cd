"""The detector's own columns and maps; what every detector promises is tested by the contract."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from forensics.detectors import Resources, Subject
from forensics.records import Finding, Image, ManifestRow, NotApplicable, UserError
from forensics.report.figure import figure
from forensics.report.mapcodec import decode_map, encode_map
from forensics.trufor import TruFor
from forensics.trufor.checkpoint import to_safetensors
from forensics.trufor.detector import TruForDetector, TruForDetectorSettings
from tests.trufor.networks import tiny_network

RESOURCES = Resources(torch.device("cpu"))
HEIGHT, WIDTH = 45, 61


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    path: Path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    path.write_bytes(to_safetensors(tiny_network()))
    return str(path)


def pixels(height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:  # type: ignore[type-arg]
    return np.random.default_rng(3).integers(0, 256, (height, width, 3), dtype=np.uint8)


def examine(rgb: np.ndarray, **settings: Any) -> Finding:  # type: ignore[type-arg]
    detector = TruForDetector(TruForDetectorSettings(**settings), RESOURCES)
    return detector.examine(Subject(ManifestRow("a", "a.png"), Image(rgb, "PNG")))


def test_without_weights_it_says_how_to_get_and_pass_some() -> None:
    with pytest.raises(NotApplicable, match=r"trufor\.checkpoint") as abstention:
        examine(pixels())
    for words in ("trufor.pth.tar", "non-profit", "https://", "jobs.train_trufor"):
        assert words in str(abstention.value)


def test_too_small_an_image_is_not_judged(checkpoint: str) -> None:
    with pytest.raises(NotApplicable, match="100x28 pixels are smaller than the 29"):
        examine(pixels(28, 100), checkpoint=checkpoint)


def test_weights_that_cannot_be_used_stop_the_scan(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"weights\.pth"):
        TruForDetector(TruForDetectorSettings(checkpoint=str(path)), RESOURCES)


@pytest.mark.parametrize("stride", [1, 4, 7])
def test_cells_are_means_of_the_pixels_they_have(checkpoint: str, stride: int) -> None:
    rgb = pixels()
    whole = TruFor.from_checkpoint(checkpoint).predict(rgb)
    found = examine(rgb, checkpoint=checkpoint, stride=stride)
    probability, confidence, decision = found.maps
    assert [m.kind for m in found.maps] == ["probability", "confidence", "decision"]
    for item, plane in ((probability, whole.map), (confidence, whole.confidence)):
        last = plane[stride * (HEIGHT // stride - (HEIGHT % stride == 0)) :, :stride]
        assert item.values[0, 0] == pytest.approx(plane[:stride, :stride].mean(), abs=1e-6)
        assert item.values[-1, 0] == pytest.approx(last.mean(), abs=1e-6)
    assert np.array_equal(decision.values, probability.values >= 0.5)
    assert found.score == whole.score


def test_columns_follow_from_maps_score_and_thresholds(checkpoint: str) -> None:
    low = examine(pixels(), checkpoint=checkpoint, tau=0.01, score_threshold=1e-9)
    high = examine(pixels(), checkpoint=checkpoint, tau=1 - 1e-9, score_threshold=1 - 1e-9)
    assert (low.values["decision"], high.values["decision"]) == (True, False)
    assert low.values["tampered_fraction"] > 0 == high.values["tampered_fraction"]
    assert high.values["confidence_tampered"] is None
    confidence, decision = low.maps[1].values, low.maps[2].values
    assert low.values["confidence_mean"] == pytest.approx(confidence.mean())
    assert low.values["confidence_tampered"] == pytest.approx(confidence[decision].mean())
    assert low.values["precision"] == "float32"


def test_noiseprint_is_kept_if_asked_and_drawn_in_grey(checkpoint: str) -> None:
    rgb = pixels()
    found = examine(rgb, checkpoint=checkpoint, noiseprint=True)
    shown = found.maps[-1]
    assert (shown.kind, shown.stride, shown.values.shape) == ("noiseprint", 1, (HEIGHT, WIDTH))
    assert (shown.values.min(), shown.values.max()) == (0, 1)
    plane = TruFor.from_checkpoint(checkpoint).predict(rgb).noiseprint
    inside = (shown.values > 0) & (shown.values < 1)
    assert inside.mean() > 0.95
    assert np.corrcoef(shown.values[inside], plane[inside])[0, 1] > 0.9999
    stored = decode_map(encode_map(shown), shown.kind, shown.stride)
    assert np.abs(stored.values - shown.values).max() < 1 / 500
    three, four = (figure(rgb, {"trufor": found.maps[:n]}) for n in (3, 4))
    panels = [sheet.shape[0] * sheet.shape[1] for sheet in (three, four)]
    assert panels[1] > panels[0]


def test_identity_is_the_digest_of_the_weights(checkpoint: str) -> None:
    with_weights = TruForDetector(TruForDetectorSettings(checkpoint=checkpoint), RESOURCES)
    assert with_weights.identity() == {"checkpoint": TruFor.from_checkpoint(checkpoint).digest}
    assert TruForDetector(TruForDetectorSettings(), RESOURCES).identity() == {"checkpoint": None}
