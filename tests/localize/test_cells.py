"""Means over the cells of a grid."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from forensics.localize.cells import cell_means


@pytest.mark.parametrize("shape", [(1, 1), (3, 17), (16, 24), (25, 31)])
@pytest.mark.parametrize("side", [1, 4, 8])
def test_every_cell_is_the_mean_of_its_pixels(shape: tuple[int, int], side: int) -> None:
    x = np.random.default_rng(0).normal(size=(2, *shape))
    means = cell_means(x, side)
    height, width = (-(-n // side) for n in shape)
    assert means.shape == (2, height, width)
    for i in range(height):
        for j in range(width):
            cell = x[:, i * side : (i + 1) * side, j * side : (j + 1) * side]
            np.testing.assert_allclose(means[:, i, j], cell.mean(axis=(1, 2)), rtol=1e-12)


def test_integers_are_read_as_float32() -> None:
    means = cell_means(torch.tensor([[255, 254, 1]], dtype=torch.uint8), 2)
    assert means.dtype == torch.float32
    assert means.tolist() == [[254.5, 1.0]]


@pytest.mark.parametrize(("shape", "side"), [((4,), 2), ((0, 4), 2), ((4, 4), 0)])
def test_what_has_no_cells_is_refused(shape: tuple[int, ...], side: int) -> None:
    with pytest.raises(ValueError, match="no cells"):
        cell_means(np.zeros(shape), side)
