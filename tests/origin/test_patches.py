"""Which patches are drawn, and how often."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from pydantic import ValidationError

from forensics.origin.canny import canny
from forensics.origin.patches import (
    ORIENTATIONS,
    PatchSettings,
    cut,
    edge_counts,
    grid,
    orient,
    roulette,
    select,
)
from forensics.records import NotApplicable
from tests.origin.test_canny import scene


@pytest.mark.parametrize(
    ("height", "width", "side", "wanted"),
    [(300, 400, 64, 50), (64, 400, 64, 50), (64, 64, 64, 50), (70, 71, 64, 4000), (999, 65, 64, 9)],
)
def test_the_grid_has_the_largest_stride_that_is_enough(
    height: int, width: int, side: int, wanted: int
) -> None:
    rows, columns = grid(height, width, side, wanted)
    assert rows[0] >= 0
    assert columns[0] >= 0
    assert rows[-1] + side <= height
    assert columns[-1] + side <= width
    most = (height - side + 1) * (width - side + 1)
    assert len(rows) * len(columns) >= min(wanted, most)

    def places(stride: int) -> int:
        return ((height - side) // stride + 1) * ((width - side) // stride + 1)

    fitting = [s for s in range(1, max(height, width)) if places(s) >= wanted]
    assert len(rows) * len(columns) == places(max(fitting, default=1))
    steps = {*np.diff(rows).tolist(), *np.diff(columns).tolist()}
    assert len(steps) <= 1
    for first, last, whole in ((rows[0], rows[-1], height), (columns[0], columns[-1], width)):
        assert abs((whole - side - last) - first) <= 1  # what is left over is shared


def test_an_image_smaller_than_a_patch_or_without_edges_has_none() -> None:
    settings = PatchSettings(side=64, count=5)
    for height, width in ((63, 500), (500, 63), (1, 1)):
        assert len(grid(height, width, 64, 10)[0]) == 0
        with pytest.raises(NotApplicable, match=f"{width}x{height} pixels hold no patch of 64"):
            select(np.zeros((height, width, 3), np.uint8), settings)
    with pytest.raises(NotApplicable, match="no edge"):
        select(np.full((80, 80, 3), 7, np.uint8), settings)


def test_edges_are_counted_as_a_loop_counts_them() -> None:
    edges = np.random.default_rng(0).random((50, 61)) < 0.2
    rows, columns = np.array([0, 3, 18]), np.array([0, 1, 20, 29])
    found = edge_counts(edges, rows, columns, 32)
    for (i, y), (j, x) in itertools.product(enumerate(rows), enumerate(columns)):
        assert found[i, j] == edges[y : y + 32, x : x + 32].sum()


def test_a_roulette_wheel_without_putting_back() -> None:
    """Chances of every order of two draws, as drawing by shares gives them."""
    fitness = np.array([1, 2, 5, 0])
    draws = [tuple(roulette(fitness, 2, seed).tolist()) for seed in range(6000)]
    for first, second in itertools.permutations(range(3), 2):
        share = fitness[first] / 8 * fitness[second] / (8 - fitness[first])
        assert draws.count((first, second)) / len(draws) == pytest.approx(share, abs=0.02)
    # without edges: only when nothing else is left, and then all alike
    assert set(roulette(fitness, 3, 0).tolist()) == {0, 1, 2}
    assert sorted(roulette(fitness, 9, 0).tolist()) == [0, 1, 2, 3]
    alike = [roulette(np.zeros(3, np.int64), 1, seed)[0] for seed in range(3000)]
    assert np.bincount(alike) / 3000 == pytest.approx(np.full(3, 1 / 3), abs=0.03)


def test_patches_are_drawn_where_edges_are() -> None:
    rgb = np.full((200, 300, 3), 90, np.uint8)
    rgb[:, 200:] = scene(200, 100, 0)
    settings = PatchSettings(side=32, count=30)
    selection = select(rgb, settings, 1)
    assert selection.corners.shape == (30, 2)
    assert len({tuple(c) for c in selection.corners.tolist()}) == 30  # none twice
    edges = canny(rgb)
    for (y, x), count in zip(selection.corners.tolist(), selection.edges.tolist(), strict=True):
        assert edges[y : y + 32, x : x + 32].sum() == count > 0
    assert np.array_equal(select(rgb, settings, 1).corners, selection.corners)
    assert not np.array_equal(select(rgb, settings, 2).corners, selection.corners)


def test_an_image_with_few_places_gives_them_all() -> None:
    selection = select(scene(33, 35, 0), PatchSettings(side=32, count=30))
    assert sorted(map(tuple, selection.corners.tolist())) == [
        (y, x) for y in range(2) for x in range(4)
    ]


def test_patches_are_what_lies_at_their_corners() -> None:
    rgb = scene(60, 70, 0)
    corners = np.array([[0, 0], [28, 38], [5, 7]])
    patches = cut(rgb, corners, 32)
    assert patches.shape == (3, 32, 32, 3)
    assert np.array_equal(patches[2], rgb[5:37, 7:39])
    assert np.array_equal(patches[1], rgb[28:60, 38:70])


def test_six_orientations_all_different() -> None:
    patch = scene(32, 32, 0)
    seen = [np.ascontiguousarray(orient(patch, k)) for k in range(ORIENTATIONS)]
    assert len({version.tobytes() for version in seen}) == ORIENTATIONS
    assert np.array_equal(seen[0], patch)
    assert np.array_equal(seen[1][0, 0], patch[0, -1])  # counter-clockwise
    assert np.array_equal(seen[2], patch[::-1, ::-1])
    assert np.array_equal(seen[4], patch[:, ::-1])
    assert np.array_equal(seen[5], patch[::-1])
    for wrong in (-1, 6):
        with pytest.raises(ValueError, match=r"orientations are 0\.\.5"):
            orient(patch, wrong)


def test_a_side_that_five_poolings_do_not_divide_is_refused() -> None:
    with pytest.raises(ValidationError, match="multiple of 32"):
        PatchSettings(side=100)
