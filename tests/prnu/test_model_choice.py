"""Which of a camera's predictors is taken."""

from __future__ import annotations

import pytest
import torch

from forensics.prnu.camera_model import CameraModel, WindowModel
from forensics.prnu.predictors import LSEPredictor
from forensics.records import UserError


class Other(LSEPredictor):
    name = "other"


def window(
    side: int, sigma1: float, *, quality: int | None = None, predictor: type = LSEPredictor
) -> WindowModel:
    return WindowModel(
        window=side,
        predictor=predictor(),
        sigma0=1 / side,
        sigma1=sigma1,
        adjusted_r2=0.5,
        blocks=100,
        images=2,
        jpeg_quality=quality,
    )


def camera(*windows: WindowModel) -> CameraModel:
    return CameraModel("c", torch.zeros(8, 8), sigma=5.0, levels=4, reference=(), windows=windows)


PLAIN, BETTER = window(64, 0.03), window(64, 0.02, predictor=Other)
AT_75, LARGE = window(64, 0.05, quality=75), window(128, 0.01)
MODEL = camera(PLAIN, BETTER, AT_75, LARGE)


def test_the_smallest_error_wins() -> None:
    assert MODEL.window(64) is BETTER
    assert camera(BETTER, PLAIN).window(64) is BETTER


def test_the_image_s_quality_comes_before_the_error() -> None:
    assert MODEL.window(64, jpeg_quality=80) is AT_75
    assert MODEL.window(64, jpeg_quality=None) is BETTER


def test_a_predictor_by_name() -> None:
    assert MODEL.window(64, predictor="lse") is PLAIN
    assert MODEL.window(64, 70, predictor="other") is BETTER
    with pytest.raises(UserError, match=r"no ffn predictor for windows of 64 px; there are lse, o"):
        MODEL.window(64, predictor="ffn")


def test_all_sizes() -> None:
    assert MODEL.sizes() == (BETTER, LARGE)
    assert MODEL.sizes(75) == (AT_75, LARGE)
    assert MODEL.sizes(predictor="lse") == (PLAIN, LARGE)
    assert MODEL.sizes(predictor="other") == (BETTER, LARGE)  # 128 px has nothing else


def test_sizes_that_are_not_there() -> None:
    with pytest.raises(UserError, match="no ffn predictor"):
        MODEL.sizes(predictor="ffn")
    with pytest.raises(UserError, match=r"run jobs\.camera_model"):
        camera().sizes()
