"""The fingerprint: reference numbers, sums that merge in any order, refusals that name the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from forensics.prnu.correlation import ncc
from forensics.prnu.fingerprint import FingerprintAccumulator
from tests.prnu import peer

HEIGHT, WIDTH = 72, 93


def images(n: int, seed: int = 0) -> list[NDArray[np.uint8]]:
    """Flat fields of one made-up sensor with 2 % PRNU."""
    pattern = np.random.default_rng(99).normal(0, 0.02, (HEIGHT, WIDTH, 1))
    rng = np.random.default_rng(seed)
    level = rng.uniform(90, 200, (n, 1, 1, 1))
    shot = rng.normal(0, 1.5, (n, HEIGHT, WIDTH, 3))
    return list(np.clip(level * (1 + pattern) + shot, 0, 255).round().astype(np.uint8))


def accumulate(pictures: list[NDArray[np.uint8]]) -> FingerprintAccumulator:
    result = FingerprintAccumulator()
    for picture in pictures:
        result.update(picture)
    return result


def reference(pictures: list[NDArray[np.uint8]]) -> NDArray[Any]:
    """extract_multiple_aligned of the reference, for images below saturation."""
    above = sum(peer.channel_noise(p, levels=3) * p / 255.0 for p in pictures)
    below = sum((p.astype(np.float64) / 252) ** 2 for p in pictures)
    return peer.wiener_dft(peer.zero_mean_total((above / (below + 1)) @ peer.GRAY))


def test_reference_numbers(shared: Path) -> None:
    accumulator = FingerprintAccumulator()
    for path in sorted((shared / "data/cameras/Nikon_D70_1/flat").iterdir()):
        with Image.open(path) as image:
            left, top = (image.width - 512) // 2, (image.height - 512) // 2
            pixels = np.asarray(image.crop((left, top, left + 512, top + 512)))
        accumulator.update(pixels, path.name)
    with np.load(shared / "interop/prnu/fingerprint_public.npz") as golden:
        expected = golden["Nikon_D70_1"]
    assert accumulator.count == 10
    fingerprint = accumulator.compute()
    assert ncc(fingerprint, expected) > 1 - 1e-6
    np.testing.assert_allclose(fingerprint, expected, atol=1e-4)  # std 0.5


def test_equals_plain_implementation() -> None:
    pictures = images(4)
    fingerprint = accumulate(pictures).compute()
    assert fingerprint.dtype == np.float32
    np.testing.assert_allclose(fingerprint, reference(pictures), atol=1e-4)


def test_finds_the_pattern() -> None:
    pattern = np.random.default_rng(99).normal(0, 0.02, (HEIGHT, WIDTH))
    assert ncc(accumulate(images(12)).compute(), peer.zero_mean_total(pattern)) > 0.8


@pytest.mark.parametrize("cuts", [(1, 2), (3, 4), (2, 6)])
def test_merges_in_any_order(cuts: tuple[int, int]) -> None:
    pictures = images(7)
    whole = accumulate(pictures).compute()
    a, b, c = (accumulate(p) for p in np.split(np.stack(pictures), cuts))
    merged = FingerprintAccumulator().merge(c).merge(a).merge(FingerprintAccumulator()).merge(b)
    assert merged.count == 7
    np.testing.assert_allclose(merged.compute(), whole, atol=1e-5 * whole.std())
    assert (a.count, b.count, c.count) == (cuts[0], cuts[1] - cuts[0], 7 - cuts[1])
    other_way = b.merge(c)
    np.testing.assert_allclose(a.merge(other_way).compute(), whole, atol=1e-5 * whole.std())


def test_merge_into_empty_does_not_share_memory() -> None:
    one = accumulate(images(1))
    before = one.compute()
    FingerprintAccumulator().merge(one).update(images(1, seed=5)[0])
    np.testing.assert_array_equal(one.compute(), before)


def test_saves_resumes_and_extends(tmp_path: Path) -> None:
    pictures = images(5)
    first = FingerprintAccumulator(sigma=3.0, levels=2)
    for picture in pictures[:3]:
        first.update(picture)
    first.save(tmp_path / "sums.safetensors")
    resumed = FingerprintAccumulator.load(tmp_path / "sums.safetensors")
    assert (resumed.sigma, resumed.levels, resumed.count) == (3.0, 2, 3)
    assert resumed.size == (HEIGHT, WIDTH)
    for accumulator in (first, resumed):
        for picture in pictures[3:]:
            accumulator.update(picture)
    np.testing.assert_array_equal(resumed.compute(), first.compute())
    empty = FingerprintAccumulator.from_bytes(FingerprintAccumulator(2.5).to_bytes())
    assert (empty.sigma, empty.count, empty.size) == (2.5, 0, None)


@pytest.mark.parametrize("cut", [0, 5, 100, -1])
def test_refuses_damaged_bytes(cut: int) -> None:
    with pytest.raises(ValueError, match="no saved fingerprint sums"):
        FingerprintAccumulator.from_bytes(accumulate(images(1)).to_bytes()[:cut])


def test_names_the_file_that_disagrees() -> None:
    accumulator = accumulate(images(2))
    before = accumulator.compute()
    with pytest.raises(ValueError, match=r"odd\.jpg is 50x40, .* 2 images before it are 93x72"):
        accumulator.update(np.zeros((40, 50, 3), np.uint8), "odd.jpg")
    assert accumulator.count == 2
    np.testing.assert_array_equal(accumulator.compute(), before)


@pytest.mark.parametrize(
    "image", [np.zeros((5, 5), np.uint8), np.zeros((5, 5, 3)), np.zeros((5, 5, 4), np.uint8)]
)
def test_refuses_other_images(image: NDArray[Any]) -> None:
    with pytest.raises(ValueError, match=r"a\.png: a fingerprint takes uint8"):
        FingerprintAccumulator().update(image, "a.png")


def test_refuses_to_merge_what_differs() -> None:
    small = FingerprintAccumulator()
    small.update(np.zeros((40, 50, 3), np.uint8))
    with pytest.raises(ValueError, match="2 images of 93x72 and 1 of 50x40"):
        accumulate(images(2)).merge(small)
    with pytest.raises(ValueError, match="sigma"):
        FingerprintAccumulator(3.0).merge(FingerprintAccumulator(5.0))
    with pytest.raises(ValueError, match="levels"):
        FingerprintAccumulator(levels=3).merge(FingerprintAccumulator())


def test_needs_an_image() -> None:
    with pytest.raises(ValueError, match="at least one image"):
        FingerprintAccumulator().compute()


def weight(values: list[list[int]]) -> NDArray[Any]:
    """The denominator of one image whose channels are all ``values``."""
    accumulator = FingerprintAccumulator()
    accumulator.update(np.repeat(np.array(values, np.uint8)[..., None], 3, 2))
    sums = accumulator._denominator
    assert isinstance(sums, torch.Tensor)
    return sums[0].numpy()


def test_weights_of_intensity_and_saturation() -> None:
    bright = [[10, 126, 251, 252], [20, 30, 254, 40], [50, 60, 70, 80], [90, 100, 110, 120]]
    expected = (np.array(bright) / 252.0) ** 2
    expected[0, 3] = 1.0
    expected[1, 2] = np.exp(-4 / 6) ** 2  # the maximum, alone: it counts
    np.testing.assert_allclose(weight(bright), expected, rtol=1e-6)
    pair = [[10, 255, 255, 20], [20, 30, 40, 40], [50, 255, 70, 80], [90, 100, 110, 120]]
    assert np.argwhere(weight(pair) == 0).tolist() == [[0, 1], [0, 2]]
    around = [[255, 10, 20, 30], [40, 50, 60, 70], [80, 90, 11, 12], [255, 13, 14, 15]]
    assert np.argwhere(weight(around) == 0).tolist() == [[0, 0], [3, 0]]  # neighbours wrap
    dim = [[250, 250, 20, 30], [40, 50, 60, 70], [80, 90, 11, 12], [16, 13, 14, 15]]
    assert (weight(dim) > 0).all()
