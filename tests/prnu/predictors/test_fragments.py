"""Dense prediction against the network run on every block alone."""

from __future__ import annotations

import pytest
import torch

from forensics.prnu.predictors import fragments
from forensics.prnu.predictors.fragments import dense, windows
from forensics.prnu.predictors.network import CNNSettings, CorrelationNetwork
from tests.prnu.predictors.test_network import SMALL, pixels, random_network

STRIDES = (1, 2, 3, 4, 5, 6, 8, 12, 16, 24)


def block_by_block(network: CorrelationNetwork, rgb: torch.Tensor) -> torch.Tensor:
    """Every window that fits: (H - w + 1, W - w + 1)."""
    blocks = rgb.unfold(0, network.window, 1).unfold(1, network.window, 1)
    with torch.no_grad():
        rows = [network(row)[:, 0, 0] for row in blocks]
    return torch.stack(rows)


def cell_by_cell(network: CorrelationNetwork, rgb: torch.Tensor, stride: int) -> torch.Tensor:
    """As the docstring says, one cell at a time."""
    every = block_by_block(network, rgb)
    axes = []
    for size in rgb.shape[:2]:
        centres = [min(i * stride + stride // 2, size - 1) for i in range(-(-size // stride))]
        begins = [c - network.window // 2 for c in centres]
        last = size - network.window
        fit = [b for b in begins if 0 <= b <= last] or [last]
        axes.append([min(fit, key=lambda f: abs(f - b)) for b in begins])
    return every[axes[0]][:, axes[1]]


@pytest.mark.parametrize("stride", STRIDES)
def test_equals_block_by_block_prediction(stride: int) -> None:
    network, rgb = random_network(SMALL, 64), pixels(93, 84)
    expected = block_by_block(network, rgb)[::stride, ::stride]
    assert float(expected.std()) > 1e-4
    found = windows(network, rgb, stride)
    assert found.shape == expected.shape
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


def test_equals_block_by_block_prediction_of_the_paper_s_network_at_every_pixel() -> None:
    network, rgb = random_network(CNNSettings(), 128), pixels(140, 137)
    expected = block_by_block(network, rgb)
    assert float(expected.std()) > 1e-4
    torch.testing.assert_close(windows(network, rgb, 1), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("stride", [1, 2, 4, 8])
def test_tiles_do_not_show(monkeypatch: pytest.MonkeyPatch, stride: int) -> None:
    network, rgb = random_network(SMALL, 64), pixels(118, 101)
    whole = windows(network, rgb, stride)
    monkeypatch.setattr(fragments, "_TILE", 16)
    monkeypatch.setattr(fragments, "_HEAD_ELEMENTS", 1)
    torch.testing.assert_close(windows(network, rgb, stride), whole, atol=1e-6, rtol=0)


@pytest.mark.parametrize("stride", STRIDES)
@pytest.mark.parametrize("shape", [(64, 64), (64, 97), (90, 71)])
def test_cells_take_their_window_or_the_nearest_that_fits(
    stride: int, shape: tuple[int, int]
) -> None:
    network, rgb = random_network(SMALL, 64), pixels(*shape)
    found = dense(network, rgb, stride)
    assert found.shape == (-(-shape[0] // stride), -(-shape[1] // stride))
    expected = cell_by_cell(network, rgb, stride)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


def test_kernels_of_three() -> None:
    network = random_network(SMALL.model_copy(update={"kernel": 3}), 44)
    rgb = pixels(57, 60)
    expected = block_by_block(network, rgb)
    torch.testing.assert_close(windows(network, rgb, 1), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("rgb", "stride", "message"),
    [
        (pixels(63, 80), 8, "80x63 px is smaller than the window of 64 px"),
        (pixels(80, 80), 0, "stride"),
        (pixels(80, 80).float(), 8, "uint8"),
        (pixels(80, 80)[..., 0], 8, "uint8"),
    ],
)
def test_what_cannot_be_predicted(rgb: torch.Tensor, stride: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dense(random_network(SMALL, 64), rgb, stride)


def test_work_without_fragments_does_not_grow_with_the_window_count() -> None:
    """At a stride of 8 every convolution runs once per tile, whatever the number of windows."""
    network, calls = random_network(SMALL, 64), []
    network.stages[0].register_forward_hook(lambda _, x, y: calls.append(y.shape))
    dense(network, pixels(120, 120), 8)
    assert len(calls) == 1
    assert calls[0][0] == 1
    assert calls[0][2] <= 120 - 2 * 4
