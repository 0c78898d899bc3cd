"""The transform and the shrinkage, against PyWavelets and a plain implementation."""

from __future__ import annotations

import numpy as np
import pytest
import pywt
import torch

from forensics.prnu import shrinkage
from forensics.prnu.shrinkage import noise_part
from forensics.prnu.wavelet import analyse, dwt2, idwt2, max_level, synthesise
from tests.prnu import peer

SHAPES = [(14, 14), (15, 29), (33, 17), (28, 300), (64, 64), (113, 112), (301, 275), (200, 517)]


@pytest.mark.parametrize("shape", SHAPES)
def test_equals_pywavelets_and_inverts(shape: tuple[int, int]) -> None:
    x = np.random.default_rng(0).uniform(0, 255, shape).astype(np.float32)
    levels = min(4, max_level(*shape))
    approximation, details = dwt2(x, levels)
    expected = pywt.wavedec2(x.astype(np.float64), "db4", level=levels)
    np.testing.assert_allclose(approximation, expected[0], atol=2e-3)  # values up to 4000
    assert len(details) == levels
    for level, reference in zip(details, expected[1:], strict=True):
        for band, wanted in zip(level, reference, strict=True):
            np.testing.assert_allclose(band, wanted, atol=2e-3)
    back = idwt2(approximation, details, shape)
    assert back.dtype == np.float32
    np.testing.assert_allclose(back, x, atol=5e-4)


def test_max_level_is_that_of_pywavelets() -> None:
    for n in range(1, 500):
        assert max_level(n, 1000) == pywt.dwt_max_level(n, "db4") == max_level(1000, n)


def test_one_level_of_strided_integers() -> None:
    rgb = torch.arange(50 * 71 * 3).mul_(7919).remainder_(256).to(torch.uint8).view(50, 71, 3)
    bands = analyse(rgb[..., 1], offset=7.0)
    plane = rgb[..., 1].float() - 7
    torch.testing.assert_close(bands, analyse(plane), rtol=0, atol=0)
    torch.testing.assert_close(synthesise(bands, 50, 71), plane, rtol=0, atol=2e-4)


def test_constant_has_no_details() -> None:
    bands = analyse(torch.full((40, 40), 255.0))
    assert bands[1:].abs().max() < 1e-4
    torch.testing.assert_close(bands[0], torch.full_like(bands[0], 510.0))


@pytest.mark.parametrize(("shape", "levels"), [((13, 100), 1), ((50, 50), 3), ((5,), 0)])
def test_refuses_too_many_levels(shape: tuple[int, ...], levels: int) -> None:
    with pytest.raises(ValueError, match="levels of an array"):
        dwt2(np.zeros(shape, np.float32), levels)


@pytest.mark.parametrize("shape", [(1, 1), (5, 3), (64, 504), (57, 505), (9, 1300), (700, 30)])
def test_shrinkage_equals_the_definition(shape: tuple[int, int]) -> None:
    x = np.random.default_rng(1).normal(0, 8, shape).astype(np.float32)
    x[0, -1] = 300  # a border sample whose energy must not leak around
    before = x.copy()
    np.testing.assert_allclose(
        noise_part(x, 25.0), peer.noise_part(x.astype(np.float64), 25.0), atol=2e-5
    )
    np.testing.assert_array_equal(x, before)


def test_shrinkage_does_not_depend_on_the_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(150, 210, generator=torch.Generator().manual_seed(2)) * 8
    whole = noise_part(x, 25.0)
    monkeypatch.setattr(shrinkage, "_COLUMNS", 40)
    monkeypatch.setattr(shrinkage, "_AREA", 1000)
    torch.testing.assert_close(noise_part(x, 25.0), whole, rtol=1e-6, atol=1e-6)


def test_shrinkage_exact_small_case() -> None:
    # One coefficient of 30 among zeros: the 9x9 window is the smallest mean, 900/81 < 25: kept.
    # One of 90: 8100/81 = 100, so the noise part is 90 * 25 / 100.
    for value, expected in ((30.0, 30.0), (90.0, 22.5)):
        x = np.zeros((21, 21), np.float32)
        x[10, 10] = value
        result = noise_part(x, 25.0)
        assert result[10, 10] == pytest.approx(expected, rel=1e-6)
        assert np.count_nonzero(result) == 1


@pytest.mark.parametrize(("shape", "variance"), [((5, 5), 0.0), ((5,), 1.0)])
def test_shrinkage_refuses(shape: tuple[int, ...], variance: float) -> None:
    with pytest.raises(ValueError, match="noise_part needs"):
        noise_part(np.zeros(shape, np.float32), variance)
