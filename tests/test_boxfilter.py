"""Window means: against a loop over every cell, and in precision."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from forensics.boxfilter import box_mean


def by_loop(x: NDArray[np.float64], window: int, stride: int) -> NDArray[np.float64]:
    height, width = x.shape
    out = np.empty((-(-height // stride), -(-width // stride)))
    for i, j in np.ndindex(*out.shape):
        top = min(i * stride + stride // 2, height - 1) - window // 2
        left = min(j * stride + stride // 2, width - 1) - window // 2
        out[i, j] = x[
            max(top, 0) : max(top + window, 0), max(left, 0) : max(left + window, 0)
        ].mean()
    return out


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (17, 23), (40, 33), (70, 131)])
@pytest.mark.parametrize("window", [1, 2, 3, 5, 8, 16, 31, 32, 200])
@pytest.mark.parametrize("stride", [1, 2, 3, 4, 8, 16, 60])
def test_equals_the_definition(shape: tuple[int, int], window: int, stride: int) -> None:
    x = np.random.default_rng(0).normal(size=shape)
    np.testing.assert_allclose(box_mean(x, window, stride), by_loop(x, window, stride), atol=1e-12)


def test_exact_small_case() -> None:
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    expected = [[0, 0.5, 1.5, 2.5], [2, 2.5, 3.5, 4.5], [6, 6.5, 7.5, 8.5]]  # reaches up and left
    np.testing.assert_array_equal(box_mean(x, 2), np.array(expected, np.float32))
    assert box_mean(x, 2).dtype == np.float32


@pytest.mark.parametrize("stride", [1, 8])
def test_large_means_keep_their_digits(stride: int) -> None:
    x = (1e4 + np.random.default_rng(1).normal(size=(600, 700))).astype(np.float32)
    exact = box_mean(x.astype(np.float64), 64, stride)
    assert np.abs(box_mean(x, 64, stride) - exact).max() <= 1.2e-3  # an ulp of 1e4


def test_leading_axes_kinds_and_no_mutation() -> None:
    x = np.random.default_rng(2).integers(0, 256, (2, 3, 21, 30)).astype(np.uint8)
    before = x.copy()
    result = box_mean(x, 5, 4)
    assert result.shape == (2, 3, 6, 8)
    assert result.dtype == np.float32
    np.testing.assert_array_equal(x, before)
    np.testing.assert_array_equal(result[1, 2], box_mean(x[1, 2], 5, 4))
    tensor = box_mean(torch.from_numpy(x), 5, 4)
    assert isinstance(tensor, torch.Tensor)
    np.testing.assert_array_equal(tensor.numpy(), result)


@pytest.mark.parametrize(
    ("shape", "window", "stride"), [((5,), 3, 1), ((0, 5), 3, 1), ((5, 5), 0, 1), ((5, 5), 3, 0)]
)
def test_refuses(shape: tuple[int, ...], window: int, stride: int) -> None:
    with pytest.raises(ValueError, match=r"box_mean|window"):
        box_mean(np.zeros(shape, np.float32), window, stride)
