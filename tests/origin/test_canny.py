"""Canny against a pixel-by-pixel account of the same rules."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from forensics.origin import canny as module
from forensics.origin.canny import canny


def reference(rgb: NDArray[np.uint8], low: int, high: int) -> NDArray[np.bool_]:
    """One pixel after the other, in floating point and angles where the real one has tables."""
    grey = np.pad(np.asarray(Image.fromarray(rgb).convert("L")).astype(int), 1, mode="edge")
    height, width = rgb.shape[:2]
    gx, gy = np.zeros((height, width), int), np.zeros((height, width), int)
    for y, x in np.ndindex(height, width):
        near = grey[y : y + 3, x : x + 3]
        gx[y, x] = near[:, 2] @ [1, 2, 1] - near[:, 0] @ [1, 2, 1]
        gy[y, x] = near[2] @ [1, 2, 1] - near[0] @ [1, 2, 1]
    size = np.pad(np.abs(gx) + np.abs(gy), 1)
    kept = np.zeros((height, width), bool)
    for y, x in np.ndindex(height, width):
        here, near = size[y + 1, x + 1], size[y : y + 3, x : x + 3]
        if here <= low:
            continue
        angle = np.degrees(np.arctan2(abs(gy[y, x]), abs(gx[y, x])))
        if angle < 22.5:
            kept[y, x] = here > near[1, 0] and here >= near[1, 2]
        elif angle > 67.5:
            kept[y, x] = here > near[0, 1] and here >= near[2, 1]
        elif gx[y, x] * gy[y, x] < 0:
            kept[y, x] = here > near[0, 2] and here > near[2, 0]
        else:
            kept[y, x] = here > near[0, 0] and here > near[2, 2]
    edges = kept & (size[1:-1, 1:-1] > high)
    while True:
        wider = np.pad(edges, 1)
        shifts = [wider[i : i + height, j : j + width] for i in range(3) for j in range(3)]
        grown = kept & np.any(shifts, axis=0)
        if np.array_equal(grown, edges):
            return edges
        edges = grown


def scene(height: int, width: int, seed: int) -> NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 6 + 2, width // 6 + 2, 3), dtype=np.uint8)
    smooth = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    return np.clip(np.asarray(smooth) + rng.normal(0, 4, (height, width, 3)), 0, 255).astype(
        np.uint8
    )


@pytest.mark.parametrize("size", [(1, 1), (1, 30), (30, 1), (2, 3), (40, 57)])
@pytest.mark.parametrize("strip", [1, 200, 1 << 17])
def test_it_is_the_reference(
    size: tuple[int, int], strip: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_STRIP", strip)
    for seed in range(3):
        rgb = scene(*size, seed)
        for low, high in ((50, 100), (10, 300)):
            assert np.array_equal(canny(rgb, low, high), reference(rgb, low, high))
    if size == (40, 57):
        assert 0.01 < canny(rgb).mean() < 0.5


def test_the_thresholds_are_of_the_sum_of_both_gradients() -> None:
    """A step of n grey levels has the gradient 4n: 25 is no edge by itself, 26 is."""
    for step, found in ((25, False), (26, True)):
        rgb = np.full((9, 12, 3), 100, np.uint8)
        rgb[:, 6:] += np.uint8(step)
        assert canny(rgb).any() == found
    assert np.array_equal(np.flatnonzero(canny(rgb)[4]), [5])  # the first of two alike


def test_a_weak_edge_needs_a_strong_one_that_it_hangs_together_with() -> None:
    rgb = np.full((21, 12, 3), 100, np.uint8)
    rgb[:, 6:] += np.arange(16, 37, dtype=np.uint8)[:, None, None]  # gradients of about 64 to 144
    assert canny(rgb)[:, 5:7].any(1).all()
    assert not canny(rgb, high=200).any()
    assert not canny(rgb, low=80)[:3].any()


def test_flat_pictures_have_none() -> None:
    assert not canny(np.full((30, 40, 3), 255, np.uint8)).any()
