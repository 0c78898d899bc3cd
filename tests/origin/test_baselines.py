"""Features against loops over pixels, and the classifiers on them."""

from __future__ import annotations

import colorsys
import itertools

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from forensics.origin.baselines import FEATURES, Baseline, BaselineName
from forensics.origin.features import cooccurrence, histograms, saturation
from forensics.records import UserError
from tests.origin.networks import of_class

PATCH = of_class(1, 0, 14, 17)


def test_sizes_are_those_of_the_papers() -> None:
    assert histograms(PATCH).shape == (3, 7 * 16)
    assert saturation(PATCH).shape == (8,)
    assert cooccurrence(PATCH).shape == (588,)


def test_histograms_count_small_differences() -> None:
    found = histograms(PATCH).reshape(3, 4, 4, 7)
    green = PATCH[..., 1].astype(int)
    steps = {0: (0, 1), 1: (1, 0), 2: (1, 1), 3: (1, -1)}
    for k, (dy, dx) in steps.items():
        values = []
        for y, x in np.ndindex(green.shape):
            # the second order, so that the one before it is tested as well
            places = [(y + i * dy, x + i * dx) for i in range(3)]
            if all(0 <= a < 14 and 0 <= b < 17 for a, b in places):
                first, second, third = (green[p] for p in places)
                values.append(first - 2 * second + third)
        expected = [values.count(v) / len(values) for v in range(-3, 4)]
        assert found[1, k, 1] == pytest.approx(expected)


def test_saturation_is_shares_of_extreme_pixels() -> None:
    patch = np.full((10, 10, 3), 128, np.uint8)
    patch[0] = 0
    patch[1] = 7
    patch[2] = 255
    patch[3] = 246
    assert saturation(patch) == pytest.approx([0.1, 0.1, 0.2, 0.2, 0.2, 0.2, 0.1, 0.1])


def colours(pixel: NDArray[np.uint8]) -> list[int]:
    r, g, b = (int(v) for v in pixel)
    hue, sat, _ = colorsys.rgb_to_hsv(r / 255, g / 255, b / 255)
    cb = 128 + (-37.797 * r - 74.203 * g + 112.0 * b) / 255
    cr = 128 + (112.0 * r - 93.786 * g - 18.214 * b) / 255
    return [round(255 * hue), round(255 * sat), round(cb), round(cr)]


def test_cooccurrence_counts_triples_of_differences() -> None:
    found = cooccurrence(PATCH)
    height, width = PATCH.shape[:2]
    chroma = np.array([[colours(pixel) for pixel in row] for row in PATCH])
    parts = [dict.fromkeys(_kept(8), 0.0), *(dict.fromkeys(_kept(5), 0.0) for _ in range(4))]
    for dy, dx in ((0, 1), (0, -1), (1, 0), (-1, 0)):
        symbols = np.zeros((height - 2, width - 2, 5), int)
        for y, x in np.ndindex(height - 2, width - 2):
            here, there = (y + 1, x + 1), (y + 1 + dy, x + 1 + dx)
            larger = PATCH[here] > PATCH[there]
            symbols[y, x, 0] = larger @ [1, 2, 4]
            symbols[y, x, 1:] = np.clip(chroma[here] - chroma[there], -2, 2) + 2
        for along in (symbols, symbols.transpose(1, 0, 2)):
            rows, columns = along.shape[0], along.shape[1] - 2
            for y, x, k in itertools.product(range(rows), range(columns), range(5)):
                a, b, c = (int(along[y, x + i, k]) for i in range(3))
                parts[k][min(a, c), b, max(a, c)] += 1 / (rows * columns)
    expected = [value for part in parts for value in part.values()]
    assert found == pytest.approx(np.array(expected))
    assert found[:288].sum() == pytest.approx(8)  # shares, two ways and four neighbours


def _kept(base: int) -> list[tuple[int, int, int]]:
    every = itertools.product(range(base), repeat=3)
    return [(i, j, k) for i, j, k in every if i <= k]


def patches(per_class: int, first: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    labels = np.repeat(np.arange(3), per_class)
    made = [of_class(int(c), first + k, 48, 48) for k, c in enumerate(labels)]
    return np.stack(made), labels


@pytest.mark.parametrize("name", ["histogram", "cooccurrence"])
def test_a_baseline_learns_what_shows(name: BaselineName) -> None:
    baseline = Baseline(name).fit(*patches(12), classes=3)
    tested, labels = patches(5, 100)
    found = baseline.predict(tested)
    assert found.shape == (15, 3)
    assert found.dtype == np.float32
    assert found.sum(1) == pytest.approx(np.ones(15), abs=1e-5)
    assert (found.argmax(1) == labels).mean() > 0.9
    again = Baseline.from_state(name, baseline.state())
    assert np.array_equal(again.predict(tested), found)
    assert baseline.predict(tested[:0]).shape == (0, 3)


@pytest.mark.parametrize("classes", [2, 3])
def test_it_is_discriminant_analysis_with_equal_priors(classes: int) -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(classes), [30, 10, 10][:classes])
    values = rng.normal(labels[:, None], [1, 5, 0.1], (len(labels), 3))
    values = np.column_stack([values, np.ones(len(labels))])  # one that never changes
    baseline = Baseline("saturation").fit_features(values[:, None], labels, classes)
    weight, bias = (t.numpy()[0] for t in baseline.state().values())
    scores = values @ weight.T + bias
    scale = values[:, :3].std(0)
    known = LinearDiscriminantAnalysis(
        solver="lsqr", shrinkage="auto", priors=np.full(classes, 1 / classes)
    ).fit(values[:, :3] / scale, labels)
    shares = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    np.testing.assert_allclose(shares, known.predict_proba(values[:, :3] / scale), atol=1e-6)


def test_what_cannot_be_learned_or_read_is_refused() -> None:
    pixels, labels = patches(2)
    with pytest.raises(UserError, match="patches of all 4 classes"):
        Baseline("saturation").fit(pixels, labels, classes=4)
    with pytest.raises(ValueError, match="has not been fitted"):
        Baseline("saturation").predict(pixels)
    with pytest.raises(UserError, match="a baseline's state is weight"):
        Baseline.from_state("saturation", {})
    with pytest.raises(UserError, match="no baseline 'colour'; there are: histogram"):
        Baseline("colour")  # type: ignore[arg-type]
    assert set(FEATURES) == {"histogram", "saturation", "cooccurrence"}
