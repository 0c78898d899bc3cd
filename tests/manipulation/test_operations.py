"""The manipulations: what each does inside, at borders and to types, and how it is named."""

from __future__ import annotations

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as PilImage
from scipy import ndimage

from forensics.manipulation.operations import (
    CLASSES,
    MANIPULATIONS,
    STRENGTHS,
    Manipulation,
    noise,
    parse,
)
from forensics.records import UserError


def texture(*shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(7).integers(0, 256, shape, dtype=np.uint8)


each = pytest.mark.parametrize("manipulation", MANIPULATIONS, ids=lambda m: m.label)


def test_the_paper_s_fifteen_and_the_pristine_class() -> None:
    assert len(MANIPULATIONS) == 15
    assert CLASSES[0] == "pristine"
    assert CLASSES[1:4] == ("median-7", "median-5", "median-3")
    assert {"blur-0.5", "noise-0.25", "resize-1.01", "jpeg-90"} < set(CLASSES)
    assert len(set(CLASSES)) == 16
    assert STRENGTHS["blur"] == (1.1, 0.75, 0.5)


@each
@pytest.mark.parametrize("shape", [(40, 56), (40, 56, 3), (1, 1), (1, 9, 3), (130, 2)])
def test_any_shape_stays_uint8_and_the_input_is_not_touched(
    manipulation: Manipulation, shape: tuple[int, ...]
) -> None:
    image = texture(*shape)
    image.setflags(write=False)
    result = manipulation.apply(image, seed=3)
    scale = manipulation.strength if manipulation.kind == "resize" else 1.0
    assert result.shape[:2] == tuple(max(1, round(side * scale)) for side in shape[:2])
    assert result.shape[2:] == image.shape[2:]
    assert result.dtype == np.uint8
    assert np.array_equal(result, manipulation.apply(image, seed=3))


@each
def test_something_happens_to_a_texture_and_nothing_to_a_plain_image(
    manipulation: Manipulation,
) -> None:
    image = texture(64, 64)
    result = manipulation.apply(image, seed=1)
    assert result.shape != image.shape or not np.array_equal(result, image)
    if manipulation.kind != "noise":
        plain = np.full((48, 48, 3), 128, np.uint8)
        assert (manipulation.apply(plain) == 128).all()


@pytest.mark.parametrize("kind", ["median", "blur", "noise", "resize"])
def test_a_channel_is_treated_as_it_would_be_alone(kind: str) -> None:
    manipulation = next(m for m in MANIPULATIONS if m.kind == kind)
    image = texture(33, 47, 3)
    if kind == "noise":  # drawn for the whole image
        assert manipulation.apply(image, 5).shape == image.shape
        return
    result = manipulation.apply(image)
    for channel in range(3):
        alone = manipulation.apply(np.ascontiguousarray(image[..., channel]))
        assert np.array_equal(result[..., channel], alone)


def test_median_takes_the_middle_of_a_mirrored_window() -> None:
    image = texture(9, 9)
    result = Manipulation("median", 3).apply(image)
    assert result[4, 5] == np.median(image[3:6, 4:7])
    mirrored = np.pad(image, 1, mode="reflect")
    assert result[0, 0] == np.median(mirrored[:3, :3])
    expected = ndimage.median_filter(image, 5, mode="mirror")
    assert np.array_equal(Manipulation("median", 5).apply(image), expected)


def test_blur_is_a_gaussian_of_that_deviation() -> None:
    spot = np.zeros((21, 21), np.uint8)
    spot[10, 10] = 255
    result = Manipulation("blur", 1.1).apply(spot)
    expected = ndimage.gaussian_filter(spot.astype(np.float64), 1.1)
    assert np.abs(result - expected).max() <= 0.5 + 1e-4
    edge = np.repeat(np.arange(0, 200, 10, dtype=np.uint8)[None], 20, axis=0)
    mirrored = ndimage.gaussian_filter(np.pad(edge * 1.0, 10, mode="reflect"), 0.75)[10:-10, 10:-10]
    assert np.abs(Manipulation("blur", 0.75).apply(edge) - mirrored).max() <= 0.5 + 1e-4


@pytest.mark.parametrize("sigma", [2.0, 0.5, 0.25])
def test_noise_has_the_deviation_and_follows_the_seed(sigma: float) -> None:
    plain = np.full((400, 400), 100, np.uint8)
    result = noise(plain, sigma, 1).astype(np.int64) - 100
    drawn = sigma * np.random.default_rng(1).standard_normal(plain.shape, np.float32)
    assert np.array_equal(result, np.rint(100 + drawn) - 100)
    assert drawn.std() == pytest.approx(sigma, rel=0.02)
    assert not np.array_equal(noise(plain, sigma, 1), noise(plain, sigma, 2))


def test_noise_does_not_wrap_around() -> None:
    black_and_white = np.tile(np.array([0, 255], np.uint8), (50, 50))
    change = np.abs(noise(black_and_white, 2.0, 0).astype(int) - black_and_white)
    assert change.max() < 20


def test_resize_is_bicubic_on_the_pixel_centres() -> None:
    ramp = np.repeat(np.arange(0, 240, 4, dtype=np.uint8)[None], 60, axis=0)
    result = Manipulation("resize", 1.5).apply(ramp)
    assert result.shape == (90, 90)
    centres = (np.arange(90) + 0.5) / 1.5 - 0.5
    assert np.abs(result[45, 6:-6] - 4 * centres[6:-6]).max() <= 0.5 + 1e-6


def test_jpeg_is_what_pillow_writes() -> None:
    image = texture(40, 40, 3)
    buffer = io.BytesIO()
    PilImage.fromarray(image).save(buffer, "JPEG", quality=80, subsampling=2)
    assert np.array_equal(Manipulation("jpeg", 80).apply(image), np.asarray(PilImage.open(buffer)))


@each
def test_labels_are_read_back(manipulation: Manipulation) -> None:
    assert parse(manipulation.label) == manipulation


@pytest.mark.parametrize("label", ["sharpen-2", "blur", "blur-x", "blur-1-2", ""])
def test_other_labels_are_refused(label: str) -> None:
    with pytest.raises(UserError, match="is no manipulation; write kind-strength"):
        parse(label)


@pytest.mark.parametrize(
    ("label", "range_"),
    [
        *((f"{kind}-{value}", "") for kind in STRENGTHS for value in ("inf", "nan", "-inf", "1e9")),
        ("median-4", r"3 to 99 \(odd\), not 4"),
        ("median-1", ""),
        ("jpeg-0", r"1 to 100 \(whole\), not 0"),
        ("jpeg-80.5", ""),
        ("noise--1", ""),
        ("noise-0.01", ""),
        ("blur-0", "0.25 to 50, not 0"),
        ("resize-1", "0.1 to 10 other than 1, not 1"),
        ("resize-1.0001", ""),
        ("resize-0", ""),
    ],
)
def test_strengths_that_a_kind_does_not_have_are_refused(label: str, range_: str) -> None:
    with pytest.raises(UserError, match=f"^'{label}': [a-z]+ takes a strength of .*{range_}"):
        parse(label)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4)),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros(4, np.uint8),
        np.zeros((0, 4), np.uint8),
    ],
)
def test_other_arrays_are_refused(image: NDArray[np.uint8]) -> None:
    with pytest.raises(ValueError, match="needs"):
        Manipulation("blur", 1.0).apply(image)
