"""The detector: whole images, parts that differ, and what it does not judge."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from forensics.detectors import Resources, Subject
from forensics.manipulation import weights
from forensics.manipulation.base import NetworkSettings
from forensics.manipulation.detector import (
    ManipulationDetector,
    ManipulationSettings,
    difference,
    posterior,
)
from forensics.manipulation.network import ResidualNetwork
from forensics.manipulation.operations import Manipulation
from forensics.records import Finding, Image, ManifestRow, NotApplicable
from forensics.train.manipulation.classifier import fit_classifier
from forensics.train.manipulation.patches import Patches
from tests.manipulation.textures import blurred, texture

WINDOW = 32
CPU = Resources(torch.device("cpu"))
Examine = Callable[..., Finding]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that tells a blur from none."""
    network = ResidualNetwork(NetworkSettings(classes=("pristine", "blur-0.75"), window=WINDOW))
    pristine = texture(40, WINDOW, WINDOW)
    pixels = np.concatenate([pristine, blurred(pristine)])
    fit_classifier(network, Patches(pixels, np.repeat(np.arange(2), 40), np.array(["one"] * 80)))
    path = tmp_path_factory.mktemp("weights") / "blur.safetensors"
    path.write_bytes(weights.to_bytes(network))
    return path


@pytest.fixture(scope="module")
def examine(file: Path) -> Examine:
    def run(green: NDArray[np.uint8], **settings: float) -> Finding:
        chosen = ManipulationSettings.model_validate(
            {"weights": str(file), "min_region_px": 32, **settings}
        )
        image = Image(np.repeat(green[..., None], 3, axis=2), "PNG")
        return ManipulationDetector(chosen, CPU).examine(Subject(ManifestRow("a", "a.png"), image))

    return run


def values(finding: Finding) -> NDArray[np.float32]:
    probability, decision = finding.maps
    assert (probability.kind, decision.kind) == ("probability", "decision")
    return np.asarray(probability.values)


def test_a_whole_image_gets_its_class_and_nothing_in_it_differs(examine: Examine) -> None:
    image = texture(130, 150, seed=9)
    for manipulated, pixels in ((False, image), (True, Manipulation("blur", 0.75).apply(image))):
        finding = examine(pixels)
        assert finding.values["label"] == ("blur-0.75" if manipulated else "pristine")
        assert (finding.values["manipulated"] > 0.9) == manipulated
        first, second = finding.values["classes"]
        assert first["label"] == finding.values["label"]
        assert first["probability"] > second["probability"]
        assert first["probability"] + second["probability"] == pytest.approx(1, abs=1e-5)
        assert not finding.values["decision"]
        assert finding.values["part_label"] is finding.values["part_classes"] is None
        assert values(finding).max() < 0.5
        assert finding.score is not None
        assert finding.score < 0.5


@pytest.mark.parametrize("inverted", [False, True])
def test_a_part_that_differs_is_found_whatever_the_rest_is(
    examine: Examine, inverted: bool
) -> None:
    image = texture(200, 240, seed=3)
    blur = Manipulation("blur", 0.75).apply(image)
    rest, part = (blur, image) if inverted else (image, blur)
    forged = rest.copy()
    forged[64:136, 80:160] = part[64:136, 80:160]
    finding = examine(forged)
    mask = np.zeros((25, 30), bool)
    mask[8:17, 10:20] = True
    decision = np.asarray(finding.maps[1].values)
    assert (decision & mask).sum() / (decision | mask).sum() > 0.5
    assert finding.values["decision"]
    assert finding.values["tampered_fraction"] == pytest.approx(decision.mean())
    of_rest, of_part = ("blur-0.75", "pristine") if inverted else ("pristine", "blur-0.75")
    assert finding.values["label"] == of_rest
    assert finding.values["part_label"] == of_part
    first, second = finding.values["part_classes"]
    assert first["label"] == of_part
    assert first["probability"] == pytest.approx(1 - second["probability"], abs=1e-5)
    assert first["probability"] > 0.8
    assert finding.score is not None
    assert finding.score > 0.8
    assert values(finding).shape == (25, 30)


def test_black_and_white_parts_are_not_judged(examine: Examine) -> None:
    image = texture(160, 200, seed=4)
    image[:, 120:] = 255
    finding = examine(image)
    assert finding.values["label"] == "pristine"
    assert 0.4 < finding.values["judged_fraction"] < 0.8
    assert values(finding)[:, 20:].max() == 0
    assert not finding.values["decision"]
    for grey in (0, 255):
        with pytest.raises(NotApplicable, match="mostly black or white"):
            examine(np.full((64, 64), grey, np.uint8))


def test_an_image_below_the_window_is_not_judged(examine: Examine) -> None:
    assert examine(texture(32, 32)).values["judged_fraction"] == 1
    with pytest.raises(NotApplicable, match="40x31 pixels are smaller than the window of 32"):
        examine(texture(31, 40))


def test_the_identity_is_the_digest_of_the_weights(file: Path) -> None:
    detector = ManipulationDetector(ManipulationSettings(weights=str(file)), CPU)
    assert detector.identity() == {"weights": hashlib.sha256(file.read_bytes()).hexdigest()}


def test_pristine_is_as_likely_beforehand_as_all_others() -> None:
    assert posterior(torch.zeros(2, 16))[1, 0] == pytest.approx(0.5)
    assert posterior(torch.tensor([1.0, 0.0])) == pytest.approx(
        torch.tensor([0.731, 0.269]), abs=1e-3
    )


def test_difference_is_the_total_variation_distance() -> None:
    image = torch.tensor([0.7, 0.2, 0.1])
    windows = torch.stack([image, torch.tensor([0.0, 0.0, 1.0]), torch.tensor([0.5, 0.5, 0.0])])
    assert difference(windows, image) == pytest.approx(torch.tensor([0.0, 0.9, 0.3]), abs=1e-6)
    assert (0.5 * (windows - image).abs().sum(1)) == pytest.approx(difference(windows, image))
