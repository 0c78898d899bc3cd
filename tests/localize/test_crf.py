"""The conditional random field against the reference and against all labellings there are."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError

from forensics.evaluate.metrics import f1_fixed
from forensics.localize import crf


def test_reaches_the_minimum_of_the_reference(shared: Path) -> None:
    folder = shared / "interop" / "multiscale"
    case = np.load(folder / "sony_a57_maps.npz")
    p, image, mask = case["fused"], case["image"], case["mask"]
    for expected in json.loads((folder / "crf_minimum_energy.json").read_text()):
        given = {"tau": expected["tau"], "alpha": expected["alpha"]}
        labels = crf.segment(p, image, **given)
        assert crf.energy(labels, p, image, **given) == pytest.approx(expected["energy"], abs=1e-6)
        inverted = crf.energy(~labels, p, image, **given)
        assert inverted == pytest.approx(expected["energy_inverted"], abs=1e-6)
        assert labels.mean() == pytest.approx(expected["forged"], abs=1e-9)
        assert f1_fixed(labels.astype(float), mask) == pytest.approx(expected["f1"], abs=1e-9)


def plain_energy(
    t: NDArray[Any], p: NDArray[Any], rgb: NDArray[Any], tau: float, alpha: float
) -> float:
    """The formula, term by term."""
    height, width = p.shape
    total = 0.0
    for y, x in np.ndindex(height, width):
        if t[y, x]:
            total += alpha - math.log(max(0.001, 1 - (1 - p[y, x]) / (2 * (1 - tau))))
        else:
            total -= math.log(max(0.001, 1 - p[y, x] / (2 * tau)))
        for v, u in np.ndindex(height, width):
            if (v, u) > (y, x) and max(abs(v - y), abs(u - x)) == 1 and t[y, x] != t[v, u]:
                distance = ((rgb[y, x] - rgb[v, u]) ** 2).sum()
                total += 0.5 + 5.6 * math.exp(-distance / (2 * 25**2))
    return total


@pytest.mark.parametrize("seed", range(6))
def test_no_labelling_of_a_small_grid_has_less_energy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    p, rgb = rng.random((3, 4)), rng.uniform(0, 120, (3, 4, 3))
    tau, alpha = rng.uniform(0.2, 0.8), rng.uniform(-2, 2)
    every = np.array(list(itertools.product([False, True], repeat=12))).reshape(-1, 3, 4)
    energies = [crf.energy(t, p, rgb, tau, alpha) for t in every]
    for t, found in zip(every[::97], energies[::97], strict=True):
        assert found == pytest.approx(plain_energy(t, p, rgb, tau, alpha))
    best = crf.segment(p, rgb, tau, alpha)
    assert crf.energy(best, p, rgb, tau, alpha) == pytest.approx(min(energies), abs=1e-9)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), alpha=st.floats(-3, 3), tau=st.floats(0.05, 0.95))
def test_no_change_lowers_the_energy(seed: int, alpha: float, tau: float) -> None:
    rng = np.random.default_rng(seed)
    p, rgb = rng.random((13, 11)), rng.integers(0, 256, (13, 11, 3), np.uint8)
    best = crf.segment(p, rgb, tau, alpha)
    least = crf.energy(best, p, rgb, tau, alpha)
    for rate in (0.01, 0.1, 0.5):
        other = best ^ (rng.random(best.shape) < rate)
        assert crf.energy(other, p, rgb, tau, alpha) >= least - 1e-9
    for uniform in (np.zeros_like(best), np.ones_like(best)):
        assert crf.energy(uniform, p, rgb, tau, alpha) >= least - 1e-9


@pytest.mark.parametrize("tau", [0.2, 0.5, 0.8])
def test_tau_is_where_a_cell_is_undecided(tau: float) -> None:
    p, rgb = np.array([[tau - 0.01, tau + 0.01]]), np.zeros((1, 2, 3))
    alone = {"tau": tau, "alpha": 0.0, "beta0": 0.0, "beta1": 0.0}
    assert crf.segment(p, rgb, **alone).tolist() == [[False, True]]
    undecided, grey = np.full((3, 3), tau), np.zeros((3, 3, 3))
    both = [crf.energy(np.full((3, 3), t), undecided, grey, tau, alpha=0.0) for t in (0, 1)]
    assert both == pytest.approx([9 * math.log(2)] * 2)


def test_of_equal_minima_the_fewest_tampered_cells() -> None:
    assert not crf.segment(np.full((4, 5), 0.5), np.zeros((4, 5, 3)), alpha=0.0).any()


def test_tampered_and_authentic_mirror_each_other() -> None:
    rng = np.random.default_rng(3)
    p, rgb = rng.random((20, 30)), rng.uniform(0, 255, (20, 30, 3))
    labels = crf.segment(p, rgb, 0.4, alpha=0.3)
    np.testing.assert_array_equal(crf.segment(1 - p, rgb, 0.6, alpha=-0.3), ~labels)
    for turn in (np.flipud, np.fliplr, lambda a: np.swapaxes(a, 0, 1)):
        np.testing.assert_array_equal(crf.segment(turn(p), turn(rgb), 0.4, 0.3), turn(labels))


def test_the_border_follows_the_colours() -> None:
    """A vague blob in a square of another colour is decided as that square."""
    y, x = np.mgrid[:40, :40]
    square = (abs(y - 20) < 8) & (abs(x - 20) < 8)
    p = np.clip(0.95 - np.hypot(y - 20, x - 20) / 25, 0.05, 0.9)
    rgb = np.where(square[..., None], [200.0, 60.0, 60.0], [60.0, 60.0, 200.0])
    np.testing.assert_array_equal(crf.segment(p, rgb, alpha=0.0), square)
    assert (crf.segment(p, np.zeros_like(rgb), alpha=0.0) != square).sum() > 20


def test_a_lone_cell_is_overruled() -> None:
    p = np.full((9, 9), 0.1)
    p[4, 4] = 1.0
    assert not crf.segment(p, np.zeros((9, 9, 3))).any()


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (6, 1)])
def test_thin_maps(shape: tuple[int, int]) -> None:
    assert crf.segment(np.ones(shape, np.float32), np.zeros((*shape, 3), np.uint8)).all()


def test_tensors_and_arrays_agree() -> None:
    rng = np.random.default_rng(4)
    p, rgb = rng.random((8, 9)).astype(np.float32), rng.integers(0, 256, (8, 9, 3), np.uint8)
    labels = crf.segment(p, rgb)
    tensor = crf.segment(torch.from_numpy(p), torch.from_numpy(rgb))
    assert labels.dtype == bool
    assert torch.equal(tensor, torch.from_numpy(labels))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"probability": np.full((2, 2), np.nan)}, "within 0..1"),
        ({"probability": np.full((2, 2), 1.1)}, "within 0..1"),
        ({"probability": np.zeros((2, 3))}, "needs colours"),
        ({"probability": np.zeros((0, 2)), "rgb": np.zeros((0, 2, 3))}, "needs colours"),
        ({"tau": 0.0}, "tau"),
        ({"tau": 1.0}, "tau"),
        ({"beta0": -0.1}, "beta0"),
        ({"phi": 0.0}, "phi"),
    ],
)
def test_refuses_bad_input(changes: dict[str, Any], message: str) -> None:
    arguments = {"probability": np.zeros((2, 2)), "rgb": np.zeros((2, 2, 3))} | changes
    with pytest.raises(ValueError, match=message):
        crf.segment(**arguments)


def test_labels_of_another_shape() -> None:
    with pytest.raises(ValueError, match="differ in shape"):
        crf.energy(np.zeros((2, 3), bool), np.zeros((2, 2)), np.zeros((2, 2, 3)))


def test_settings_are_the_parameters() -> None:
    chosen = crf.CRFSettings(alpha=0.5)
    p, rgb = np.full((2, 2), 0.6), np.zeros((2, 2, 3))
    assert not crf.segment(p, rgb, **chosen.model_dump()).any()
    assert crf.segment(p, rgb, **crf.CRFSettings().model_dump()).all()
    with pytest.raises(ValidationError):
        crf.CRFSettings(beta0=-1.0)


def test_colours_of_the_cells() -> None:
    rgb = np.zeros((9, 17, 3), np.uint8)
    rgb[:8, :8] = [10, 20, 30]
    rgb[:4, :8] += 2
    rgb[8, 16] = [255, 0, 1]
    at = crf.rgb_at(rgb, 8)
    assert (at.shape, at.dtype) == ((2, 3, 3), np.float32)
    assert at[0, 0].tolist() == [11, 21, 31]
    assert at[1, 2].tolist() == [255, 0, 1]
    assert at[0, 1].tolist() == [0, 0, 0]
    with pytest.raises(ValueError, match="colours"):
        crf.rgb_at(np.zeros((4, 4)), 2)


@pytest.mark.parametrize("seed", range(4))
def test_the_score_is_where_the_last_cell_disappears(seed: int) -> None:
    rng = np.random.default_rng(seed)
    p, rgb = rng.uniform(0, 1, (12, 17)), rng.uniform(0, 255, (12, 17, 3))
    p[3:8, 4:9] = 0.9
    highest = crf.score(p, rgb)
    assert 0 < highest < 1
    found = [crf.segment(p, rgb, level / 64) for level in range(1, 64)]
    for lower, higher in itertools.pairwise(found):
        assert not (higher & ~lower).any()  # nested
    for level, labels in enumerate(found, start=1):
        assert labels.any() == (level / 64 <= highest)


def test_the_score_of_a_map_without_suspicion_is_low() -> None:
    rgb = np.full((10, 10, 3), 99.0)
    assert crf.score(np.zeros((10, 10)), rgb, alpha=0) == 0
    favoured = 1 - 0.5 / (1 - math.exp(-1))  # where alpha = -1 outweighs a probability of 0
    assert crf.score(np.zeros((10, 10)), rgb, alpha=-1) == pytest.approx(favoured, abs=1 / 256)
    assert crf.score(np.ones((10, 10)), rgb) > 0.99
