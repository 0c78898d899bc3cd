"""What the detector says beyond the contract of all detectors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from forensics.detectors import Resources, Subject
from forensics.origin import weights
from forensics.origin.detector import OriginDetector, OriginSettings
from forensics.origin.judge import judge, predictor
from forensics.origin.level import compressed_alike
from forensics.origin.patches import PatchSettings
from forensics.records import Image, ManifestRow, NotApplicable, Rgb
from tests.origin.networks import SIDE, TINY, of_class, tiny_network


def detector(folder: Path, shape: Any = TINY, **settings: Any) -> OriginDetector:
    path = folder / "origin.safetensors"
    path.write_bytes(weights.to_bytes(tiny_network(1, shape)))
    chosen = OriginSettings(weights=str(path), **settings)
    return OriginDetector(chosen, Resources(torch.device("cpu")))


def subject(rgb: Rgb) -> Subject:
    return Subject(ManifestRow("a", "a.png"), Image(rgb, "PNG"))


def test_votes_boxes_and_score_are_those_of_the_patches(tmp_path: Path) -> None:
    rgb = of_class(2, 0)
    finding = detector(tmp_path, patches=40, seed=5).examine(subject(rgb))
    judged = judge(rgb, PatchSettings(side=SIDE, count=40), predictor(tiny_network(1)), 5)
    votes = judged.probabilities.argmax(1)
    values = finding.values
    assert [row["patches"] for row in values["votes"]] == np.bincount(votes, minlength=3).tolist()
    assert [row["label"] for row in values["votes"]] == ["npi", "cgg", "dgi"]
    means = judged.probabilities.mean(0)
    assert [row["probability"] for row in values["votes"]] == pytest.approx(means.tolist())
    assert finding.score == pytest.approx(1 - means[0], abs=1e-6)
    assert (values["patches"], len(values["boxes"])) == (40, 40)
    for k, box in enumerate(values["boxes"]):
        assert (box["top"], box["left"]) == tuple(judged.selection.corners[k].tolist())
        assert (box["width"], box["height"]) == (SIDE, SIDE)
        assert box["vote"] == votes[k]
        assert box["probabilities"] == pytest.approx(judged.probabilities[k].tolist())
    winner = max(values["votes"], key=lambda row: (row["patches"], row["probability"]))
    assert values["label"] == winner["label"]
    assert finding.maps == ()


def test_an_image_is_compressed_as_those_that_the_network_learned_from(tmp_path: Path) -> None:
    shape = TINY.model_copy(update={"jpeg_qualities": (60, 71)})
    rgb = of_class(2, 0, 90, 101)
    levelled = detector(tmp_path, shape, patches=40, seed=5)
    finding = levelled.examine(subject(rgb))
    same = compressed_alike(rgb, 65)
    bare = detector(tmp_path, patches=40, seed=5)
    assert finding.values == bare.examine(subject(same)).values
    assert finding.values != bare.examine(subject(rgb)).values
    extra = levelled.bytes_needed(3000, 4000) - bare.bytes_needed(3000, 4000)
    assert extra == same.itemsize * 3 * 3000 * 4000


def test_without_a_class_of_photographs_there_is_no_score(tmp_path: Path) -> None:
    shape = TINY.model_copy(update={"natural": None, "classes": ("blender", "mitsuba")})
    finding = detector(tmp_path, shape).examine(subject(of_class(0, 0)))
    assert finding.score is None
    assert finding.values["label"] in ("blender", "mitsuba")


def test_it_abstains_with_a_reason(tmp_path: Path) -> None:
    found = detector(tmp_path, patches=30, min_patches=10)
    with pytest.raises(NotApplicable, match="gives 9 patches, 10 are needed"):
        found.examine(subject(of_class(0, 0, SIDE + 2, SIDE + 2)))
    assert found.examine(subject(of_class(0, 0, SIDE + 3, SIDE + 3))).values["patches"] == 16
    with pytest.raises(NotApplicable, match="100x31 pixels hold no patch of 32 pixels"):
        found.examine(subject(of_class(0, 0, 31, 100)))
    with pytest.raises(NotApplicable, match="no edge"):
        found.examine(subject(np.full((90, 90, 3), 200, np.uint8)))
    bare = OriginDetector(None, Resources(torch.device("cpu")))
    with pytest.raises(NotApplicable, match=r"origin\.weights is not given; train .*train_origin"):
        bare.examine(subject(of_class(0, 0)))
    assert bare.identity() == {"weights": None}


def test_a_minimum_that_cannot_be_reached_is_refused() -> None:
    with pytest.raises(ValidationError, match="min_patches 20 exceeds patches 10"):
        OriginSettings(patches=10)
