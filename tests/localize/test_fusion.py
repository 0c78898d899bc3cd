"""Adaptive-window fusion against the reference, against the pseudocode, and by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from forensics.localize.fusion import adaptive_window


def test_equals_the_reference_on_a_real_case(shared: Path) -> None:
    case = np.load(shared / "interop" / "multiscale" / "sony_a57_maps.npz")
    fused, scale = adaptive_window(case["maps"])
    np.testing.assert_array_equal(fused, case["fused"])
    np.testing.assert_array_equal(scale, case["accepted_scale"])


def one_pixel(values: NDArray[Any], dc1: float, dc2: float) -> int:
    """Algorithm 2 as it is written, for one pixel."""
    accepted, s = 0, 1
    while s < len(values) and abs(values[accepted] - 0.5) < 0.5 - dc1:
        if abs(values[s] - 0.5) > abs(values[accepted] - 0.5):
            accepted = s
            same_side = (values[s - 1] - 0.5) * (values[s] - 0.5) > 0
            if abs(values[s - 1] - 0.5) > 0.5 - dc2 and same_side:
                break
        s += 1
    return accepted


@pytest.mark.parametrize("scales", [1, 2, 7])
@pytest.mark.parametrize(("dc1", "dc2"), [(0.1, 0.25), (0.02, 0.4), (0.0, 0.0), (0.5, 0.5)])
def test_every_pixel_follows_the_algorithm(scales: int, dc1: float, dc2: float) -> None:
    rng = np.random.default_rng(scales)
    maps = rng.beta(0.7, 0.7, (scales, 40, 50))
    maps[rng.random(maps.shape) < 0.1] = 0.5
    fused, scale = adaptive_window(maps, dc1, dc2)
    expected = np.apply_along_axis(one_pixel, 0, maps, dc1, dc2)
    np.testing.assert_array_equal(scale, expected)
    np.testing.assert_array_equal(fused, np.take_along_axis(maps, expected[None], 0)[0])


@pytest.mark.parametrize(
    ("values", "accepted"),
    [
        ([0.95, 1.0, 0.0], 0),  # sure at once
        ([0.6, 0.7, 0.95, 1.0], 2),  # each surer than the last, until it is sure enough
        ([0.8, 0.85, 0.88, 0.89], 1),  # confirmed on the same side
        ([0.8, 0.15, 0.88, 0.85], 2),  # contradicted: no confirmation, and the next is surer
        ([0.6, 0.55, 0.58], 0),  # none is surer
        ([0.5, 0.5, 0.5], 0),  # saturated throughout
        ([0.5, 0.5, 0.2], 2),
    ],
)
def test_by_hand(values: list[float], accepted: int) -> None:
    fused, scale = adaptive_window(torch.tensor(values)[:, None, None])
    assert scale.item() == accepted
    assert fused.item() == torch.tensor(values)[accepted]


def test_arrays_stay_what_they_are() -> None:
    maps = np.full((3, 2, 2), 0.3, np.float32)
    before = maps.copy()
    fused, scale = adaptive_window(maps)
    assert isinstance(fused, np.ndarray)
    assert (fused.dtype, scale.dtype) == (np.float32, np.uint8)
    np.testing.assert_array_equal(maps, before)
    fused_tensor, scale_tensor = adaptive_window(torch.from_numpy(maps))
    assert isinstance(fused_tensor, torch.Tensor)
    assert scale_tensor.dtype == torch.uint8


def test_refuses_what_it_cannot_fuse() -> None:
    with pytest.raises(ValueError, match="1 to 255 scales"):
        adaptive_window(np.zeros((4, 4)))
    with pytest.raises(ValueError, match="1 to 255 scales"):
        adaptive_window(np.zeros((0, 4, 4)))
    with pytest.raises(ValueError, match="NaN"):
        adaptive_window(np.full((2, 4, 4), np.nan))
