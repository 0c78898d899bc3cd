"""Statistics of segments against loops over the pixels of each."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from forensics.localize.segments import moments, regions, statistics
from forensics.localize.signals import Signals
from forensics.localize.superpixels import Labels

HEIGHT, WIDTH = 75, 101


def given(height: int = HEIGHT, width: int = WIDTH, level: float = 0.0) -> Signals:
    generator = torch.Generator().manual_seed(1)
    rgb = torch.randint(0, 256, (height, width, 3), generator=generator, dtype=torch.uint8)
    rgb[: height // 3] = 250
    Z = torch.randn(height, width, generator=generator)
    W = 0.2 * Z + torch.randn(height, width, generator=generator)
    return Signals(rgb, W + level, Z + level)


def patches(cell: int, height: int = HEIGHT, width: int = WIDTH) -> Labels:
    """Irregular segments: the nearest of 12 points, in cells."""
    shape = (-(-height // cell), -(-width // cell))
    points = np.random.default_rng(2).uniform(0, 1, (12, 2)) * shape
    y, x = np.mgrid[: shape[0], : shape[1]]
    distance = [(y - p) ** 2 + (x - q) ** 2 for p, q in points]
    _, labels = np.unique(np.argmin(distance, axis=0), return_inverse=True)
    labels = torch.from_numpy(labels.reshape(shape).astype(np.int32))
    return Labels(labels, cell, int(labels.max()) + 1, height, width)


@pytest.mark.parametrize("cell", [1, 2, 4, 7])
@pytest.mark.parametrize("level", [0.0, 300.0])
def test_statistics_are_those_of_the_pixels(cell: int, level: float) -> None:
    signals, labels = given(level=level), patches(cell)
    found = statistics(moments(signals, cell), regions(labels))
    of_pixel = labels.at(1)
    for j in range(labels.count):
        own = of_pixel == j
        w, z = signals.W[own].double().numpy(), signals.Z[own].double().numpy()
        assert found.pixels[j] == own.sum()
        assert found.side[j] == round(float(own.sum()) ** 0.5)
        assert float(found.rho[j]) == pytest.approx(np.corrcoef(w, z)[0, 1], abs=2e-5)
        features = signals.features[:, own].double().mean(1).float()
        torch.testing.assert_close(found.features[j], features, rtol=1e-5, atol=1e-6)
        assert float(found.saturation[j]) == pytest.approx(float(signals.saturation[own].mean()))


def test_coarse_cells_are_sums_of_fine_ones() -> None:
    signals = given()
    expected = moments(signals, 6)
    coarse = moments(signals, 2).coarser(6)
    assert coarse.cell == 6
    torch.testing.assert_close(coarse.sums, expected.sums, rtol=1e-4, atol=1e-4)


def test_strips_do_not_show() -> None:
    """The image is taller than one strip; the sums are those of the whole."""
    signals = given(300, 20)
    found = moments(signals, 7).sums[9]
    plane = torch.nn.functional.pad(signals.saturation, (0, 1, 0, 1))
    torch.testing.assert_close(found, plane.reshape(43, 7, 3, 7).sum((1, 3)))


def dilated(own: np.ndarray, pixels: np.ndarray, minimum: float) -> np.ndarray:
    """The mask grown by crosses until it has enough pixels, or the whole image."""
    while pixels[own].sum() < minimum and not own.all():
        own = ndimage.binary_dilation(own)
    return own


@pytest.mark.parametrize("cell", [1, 3])
@pytest.mark.parametrize("minimum", [400, 900, 10**6])
def test_small_segments_are_dilated_until_they_have_enough(cell: int, minimum: int) -> None:
    signals, labels = given(), patches(cell)
    region = regions(labels, minimum)
    pixels = region.cell_pixels.reshape(labels.labels.shape).numpy()
    assert pixels.sum() == HEIGHT * WIDTH
    found = statistics(moments(signals, cell), region)
    for j in range(labels.count):
        expected = dilated(labels.labels.numpy() == j, pixels, minimum)
        mine = (region.label == j).clone()
        added = region.grown_cell[region.grown_segment == j]
        assert not mine[added].any()
        assert len(added.unique()) == len(added)
        mine[added] = True
        assert np.array_equal(mine.reshape(expected.shape).numpy(), expected)
        assert region.pixels[j] == pixels[expected].sum()
        of_pixel = np.kron(expected, np.ones((cell, cell), bool))[:HEIGHT, :WIDTH]
        w, z = signals.W.numpy()[of_pixel], signals.Z.numpy()[of_pixel]
        assert float(found.rho[j]) == pytest.approx(np.corrcoef(w, z)[0, 1], abs=2e-5)
    if minimum == 400:
        assert 0 < len(region.grown_segment.unique()) < labels.count


def test_numbering_does_not_matter() -> None:
    signals, labels = given(), patches(2)
    order = torch.randperm(labels.count, generator=torch.Generator().manual_seed(3))
    renamed = Labels(order[labels.labels.long()].int(), 2, labels.count, HEIGHT, WIDTH)
    sums = moments(signals, 2)
    one, other = (statistics(sums, regions(x, 500)) for x in (labels, renamed))
    for a, b in zip(one, other, strict=True):
        torch.testing.assert_close(a, b[order], rtol=1e-6, atol=1e-9)


def test_means_of_a_plane_count_pixels() -> None:
    labels = patches(4)
    region = regions(labels, 300)
    plane = torch.rand(labels.labels.shape, generator=torch.Generator().manual_seed(4))
    found = region.means(plane)
    pixels = region.cell_pixels.reshape(plane.shape).numpy()
    for j in range(labels.count):
        own = dilated(labels.labels.numpy() == j, pixels, 300)
        assert float(found[j]) == pytest.approx(np.average(plane.numpy()[own], weights=pixels[own]))


def test_what_does_not_vary_correlates_with_nothing() -> None:
    signals, labels = given(), patches(2)
    W = signals.W.clone()
    W[labels.at(1) == 0] = 7.0
    found = statistics(moments(Signals(signals.rgb, W, signals.Z), 2), regions(labels))
    assert found.rho[0] == 0
    assert found.rho[1] > 0.05
