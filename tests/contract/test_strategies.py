"""Every strategy and decision of the prnu detector keeps what the detector promises."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest

from forensics.detectors import Resources, Subject
from forensics.localize.strategies import Strategy
from forensics.prnu.localization import PrnuDetector, PrnuSettings
from forensics.records import Status
from tests.contract.subjects import CONTENTS, SIZES, TRAINED, image, row
from tests.contract.test_detectors import ask, check_finding, models, plain, resources
from tests.prnu.cameras import HEIGHT, WIDTH

__all__ = ["models", "resources"]  # fixtures

SIDES = [32, 48, 64, 96, 128, 192, 256]
DECISIONS = {"sw-ss": "crf", "sw-sg": "stm", "sw-ms": "crf", "s-slic": "stm", "m-slic": "crf"}


@pytest.fixture(params=get_args(Strategy))
def detector(request: pytest.FixtureRequest, resources: Resources) -> PrnuDetector:
    settings = PrnuSettings(strategy=request.param, decision=DECISIONS[request.param])
    return PrnuDetector(settings, resources)


@pytest.mark.parametrize("size", SIZES)
def test_any_size_and_content_gives_a_finding_or_a_reason(
    detector: PrnuDetector, size: tuple[int, int]
) -> None:
    for content in CONTENTS:
        finding = ask(detector, Subject(row(TRAINED), image(content, *size)))
        check_finding(detector, finding, *size)


def test_a_photo_is_judged_and_judged_alike_again(detector: PrnuDetector) -> None:
    photographed = image("natural", HEIGHT, WIDTH)
    finding = ask(detector, Subject(row(TRAINED), photographed))
    assert finding.status is Status.OK
    assert finding.values["windows"] == ([128] if finding.values["strategy"] == "sw-ss" else SIDES)
    assert set(finding.values["predictors"]) == {"lse"}
    assert plain(ask(detector, Subject(row(TRAINED), photographed))) == plain(finding)


def test_a_predictor_that_was_not_trained_is_named(resources: Resources) -> None:
    photographed = image("natural", HEIGHT, WIDTH)
    detector = PrnuDetector(PrnuSettings(predictor="cnn"), resources)
    finding = ask(detector, Subject(row(TRAINED), photographed))
    assert finding.status is Status.NOT_APPLICABLE
    assert "no cnn predictor" in str(finding.reason)
    assert "jobs.train_predictor" in str(finding.reason)


def test_a_saturated_image_is_not_judged(resources: Resources) -> None:
    pixels = image("natural", HEIGHT, WIDTH)
    white = np.asarray(pixels.pixels).copy()
    white[: HEIGHT * 9 // 10] = 255
    finding = ask(
        PrnuDetector(PrnuSettings(), resources),
        Subject(row(TRAINED), replace(pixels, pixels=white)),
    )
    assert finding.status is Status.NOT_APPLICABLE
    assert "% of the image is saturated" in str(finding.reason)
