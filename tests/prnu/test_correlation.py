"""Correlations: definitions, shifts, crops, and the attributions of real photos."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from forensics.prnu.correlation import Correlator, ncc, ncc_field, pce
from forensics.prnu.fingerprint import FingerprintAccumulator
from forensics.prnu.residual import noise_residual


def noise(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def centre_crop(path: Path, side: int) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        left, top = (image.width - side) // 2, (image.height - side) // 2
        return np.asarray(image.crop((left, top, left + side, top + side)))


def test_ncc() -> None:
    a, b = noise(40, 50), noise(40, 50, seed=1)
    assert ncc(a, b) == pytest.approx(np.corrcoef(a.ravel(), b.ravel())[0, 1], abs=1e-6)
    assert ncc(a, 3 * a + 100) == pytest.approx(1, abs=1e-6)
    assert ncc(a, -a) == pytest.approx(-1, abs=1e-6)
    assert ncc(a, np.full_like(a, 7)) == 0
    assert ncc(torch.from_numpy(a), torch.from_numpy(b)) == pytest.approx(ncc(a, b))
    with pytest.raises(ValueError, match="one shape"):
        ncc(a, b[:-1])


@pytest.mark.parametrize(("window", "stride"), [(9, 1), (16, 1), (16, 8), (200, 4), (7, 3)])
def test_ncc_field_equals_the_definition(window: int, stride: int) -> None:
    w, z = noise(37, 45), noise(37, 45, seed=1) + 5
    z[:20] += w[:20]
    field = ncc_field(w, z, window, stride)
    assert field.dtype == np.float32
    expected = np.empty((-(-37 // stride), -(-45 // stride)))
    for i, j in np.ndindex(*expected.shape):
        top = min(i * stride + stride // 2, 36) - window // 2
        left = min(j * stride + stride // 2, 44) - window // 2
        part = np.s_[max(top, 0) : top + window, max(left, 0) : left + window]
        expected[i, j] = np.corrcoef(w[part].ravel(), z[part].ravel())[0, 1]
    np.testing.assert_allclose(field, expected, atol=1e-5)


def test_ncc_field_bounds_and_vanishing_spread() -> None:
    w = noise(60, 60)
    np.testing.assert_allclose(ncc_field(w, w, 11), 1, atol=1e-5)
    np.testing.assert_allclose(ncc_field(w, -w, 11), -1, atol=1e-5)
    flat = w.copy()
    flat[:30, :30] = 50.0
    field = ncc_field(flat, flat, 9)
    assert not field[4:25, 4:25].any()
    np.testing.assert_allclose(field[40:], 1, atol=1e-4)
    assert not ncc_field(np.zeros_like(w), w, 9).any()
    tiny = ncc_field(w * 1e-12, w, 9)  # no underflow
    np.testing.assert_allclose(tiny, 1, atol=1e-4)
    with pytest.raises(ValueError, match="one shape"):
        ncc_field(w, w[:-1])


def by_hand(residual: NDArray[Any], full: NDArray[Any]) -> tuple[float, NDArray[Any]]:
    """PCE of the same size by the definition, and the correlation surface."""
    a, b = residual - residual.mean(), full - full.mean()
    height, width = a.shape
    cc = np.array(
        [
            [(a * np.roll(b, (-dy, -dx), (0, 1))).sum() for dx in range(width)]
            for dy in range(height)
        ]
    )
    peak = np.unravel_index(cc.argmax(), cc.shape)
    outside = np.ones_like(cc, bool)
    outside[np.ix_(*(np.arange(p - 5, p + 6) % n for p, n in zip(peak, cc.shape, strict=True)))] = 0
    return cc.max() ** 2 / (cc[outside] ** 2).mean(), cc


@pytest.mark.parametrize("shift", [(0, 0), (3, -2), (-7, 12), (9, 0)])
def test_pce_equals_the_definition(shift: tuple[int, int]) -> None:
    k = noise(25, 30).astype(np.float64)
    residual = np.roll(k, (-shift[0], -shift[1]), (0, 1)) + noise(25, 30, seed=1)
    result = pce(residual, k)
    expected, cc = by_hand(residual, k)
    assert result.offset == shift
    assert result.pce == pytest.approx(expected, rel=1e-4)
    norm = np.linalg.norm(residual - residual.mean()) * np.linalg.norm(k - k.mean())
    assert result.peak == pytest.approx(cc.max() / norm, rel=1e-4)
    assert result.ncc == pytest.approx(result.peak, abs=1e-5)


def test_pce_of_a_crop_gives_its_offset() -> None:
    k = noise(300, 401)
    for top, left in ((0, 0), (37, 112), (172, 201)):
        residual = k[top : top + 128, left : left + 200] + 3 * noise(128, 200, seed=2)
        result = pce(residual, k)
        assert result.offset == (top, left)
        assert result.pce > 1000
        part = k[top : top + 128, left : left + 200]
        assert result.ncc == pytest.approx(ncc(residual, part), abs=1e-6)
    band = k[50:90] + noise(40, 401, seed=3)  # cut along one axis, circular along the other
    assert pce(band, k).offset == (50, 0)


def test_only_shifts_inside_the_reference_are_searched() -> None:
    k = noise(100, 100)
    wrapped = np.roll(k, (-80, -80), (0, 1))[:60, :60]  # its place sticks out of the reference
    result = pce(wrapped, k)
    assert result.pce < 60
    assert 0 <= result.offset[0] <= 40
    assert 0 <= result.offset[1] <= 40


def test_aligned_only_is_signed() -> None:
    k, other = noise(90, 80), noise(90, 80, seed=4)
    assert pce(k + other, k, aligned_only=True).pce > 100
    negative = pce(other - k, k, aligned_only=True)
    assert negative.pce < -100
    assert negative.offset == (0, 0)
    assert negative.ncc < -0.5
    assert abs(pce(np.roll(k, 20), k, aligned_only=True).pce) < 60


def test_unrelated_noise_stays_low() -> None:
    values = [pce(noise(200, 180, seed=s), noise(200, 180, seed=s + 50)).pce for s in range(10)]
    assert max(values) < 45


@pytest.mark.parametrize("shape", [(1, 1), (3, 50), (11, 11)])
def test_degenerate_sizes_and_constants(shape: tuple[int, int]) -> None:
    for result in (pce(noise(*shape), noise(*shape)), pce(np.zeros((20, 20)), noise(30, 30))):
        assert np.isfinite([result.pce, result.peak, result.ncc]).all()
    assert pce(np.zeros((20, 20)), noise(30, 30)).pce == 0


def test_one_residual_many_references() -> None:
    residual = noise(60, 70)
    correlator = Correlator(residual)
    references = [noise(60, 70, seed=1), noise(90, 80, seed=2), noise(60, 70, seed=3) + residual]
    for reference in references:
        before = reference.copy()
        assert correlator.pce(reference) == pce(residual, reference)
        assert correlator.pce(torch.from_numpy(reference)) == pce(residual, reference)
        np.testing.assert_array_equal(reference, before)


@pytest.mark.parametrize("shape", [(19, 30), (30, 19), (30,)])
def test_refuses_smaller_references(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="cannot hold"):
        pce(noise(20, 20), np.zeros(shape, np.float32))


@pytest.mark.slow
def test_attributions_of_real_photos(shared: Path) -> None:
    golden = json.loads((shared / "interop/prnu/identification_public.json").read_text())
    data, side = shared / "data", golden["crop"]
    fingerprints = []
    for device in golden["devices"]:
        accumulator = FingerprintAccumulator()
        for path in sorted((data / "cameras" / device / "flat").iterdir()):
            accumulator.update(centre_crop(path, side), path.name)
        fingerprints.append(accumulator.compute())
    shape = (len(golden["devices"]), len(golden["images"]))
    by_ncc, by_pce, by_aligned_pce = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    for j, name in enumerate(golden["images"]):
        residual = noise_residual(centre_crop(data / name, side))
        correlator = Correlator(residual)
        for i, fingerprint in enumerate(fingerprints):
            by_ncc[i, j] = ncc(residual, fingerprint)
            by_pce[i, j] = correlator.pce(fingerprint).pce
            by_aligned_pce[i, j] = correlator.pce(fingerprint, aligned_only=True).pce
    np.testing.assert_allclose(by_ncc, golden["ncc"], atol=3e-6)  # stored with six decimals
    np.testing.assert_allclose(by_pce, golden["pce"], rtol=2e-3)  # another floor around the peak
    truth = [golden["devices"].index(name.split("/")[1]) for name in golden["images"]]
    for scores in (by_ncc, by_pce, by_aligned_pce):
        assert scores.argmax(axis=0).tolist() == truth
