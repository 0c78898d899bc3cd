"""Superpixels as what is judged, on noise with a known fingerprint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import pytest
import torch

from forensics.localize.signals import LocalMaps, Signals
from forensics.localize.slic import multi_slic, single_slic
from forensics.localize.superpixels import segment_counts, superpixels
from forensics.localize.windows import sliding_window
from forensics.prnu.camera_model import WindowModel
from tests.localize.test_multiwindow import models

HEIGHT, WIDTH, STRIDE = 403, 517, 8
SIZES = (32, 64, 96, 128)
STRENGTH = 0.2


def star(height: int = HEIGHT, width: int = WIDTH) -> torch.Tensor:
    """An object with a border that no square fits."""
    y = torch.arange(height)[:, None] - 0.5 * height
    x = torch.arange(width) - 0.5 * width
    return (y**2 + x**2).sqrt() < 85 + 40 * torch.cos(5 * torch.atan2(y, x))


def forged(visible: int = 60, strength: float = STRENGTH) -> Signals:
    """The star lacks the fingerprint and differs in colour."""
    generator = torch.Generator().manual_seed(0)
    shape = (HEIGHT, WIDTH)
    rgb = torch.randint(98, 103, (*shape, 3), generator=generator, dtype=torch.uint8)
    rgb[star()] += visible
    Z = torch.randn(shape, generator=generator)
    W = torch.randn(shape, generator=generator) + strength * Z * ~star()
    return Signals(rgb, W, Z)


def overlap(maps: LocalMaps, truth: torch.Tensor) -> float:
    """Intersection over union at every pixel."""
    full = maps.probability.repeat_interleave(STRIDE, 0).repeat_interleave(STRIDE, 1)
    found = full[: truth.shape[0], : truth.shape[1]] > 0.5
    return float((found & truth).sum() / (found | truth).sum())


def windows(*sizes: int, rho: float = STRENGTH) -> list[WindowModel]:
    return models(*(sizes or SIZES), rho=rho)


def test_the_border_of_an_object_is_found_better_than_by_a_sliding_window() -> None:
    given, chosen = forged(), windows()
    multi, single = multi_slic(given, chosen, STRIDE), single_slic(given, chosen, STRIDE, 60)
    sliding = [overlap(sliding_window(given, model, STRIDE), star()) for model in chosen]
    assert overlap(multi, star()) > 0.9
    assert overlap(multi, star()) > max(sliding) + 0.05
    assert overlap(single, star()) > max(sliding) + 0.05
    assert multi.gain == pytest.approx(1, abs=0.1)


def test_shapes_and_types() -> None:
    for stride in (1, 5, 8, 64):
        maps = multi_slic(forged(), windows(32, 128), stride, [40, 9])
        for values in maps[:3]:
            assert values.shape == (-(-HEIGHT // stride), -(-WIDTH // stride))
            assert values.dtype == torch.float32


def test_the_same_again() -> None:
    given = forged()
    one, other = (multi_slic(given, windows(), STRIDE) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one[:3], other[:3], strict=True))
    assert one.gain == other.gain


def test_neither_the_order_of_models_nor_that_of_scales_matters() -> None:
    given, counts = forged(), [9, 60, 200]
    one = multi_slic(given, windows(), STRIDE, counts)
    other = multi_slic(given, windows()[::-1], STRIDE, counts[::-1])
    assert all(torch.equal(a, b) for a, b in zip(one[:3], other[:3], strict=True))


def test_scales_are_as_large_as_the_windows() -> None:
    given = forged()
    counts = segment_counts(HEIGHT, WIDTH, SIZES)
    one, other = multi_slic(given, windows()), multi_slic(given, windows(), counts=counts)
    assert torch.equal(one.probability, other.probability)


def test_every_pixel_has_the_values_of_its_superpixel() -> None:
    given = forged()
    maps = single_slic(given, windows(), 1, 60)
    labels = superpixels(given.rgb, 60)
    own = labels.at(1)
    for j in range(labels.count):
        w, z = given.W[own == j], given.Z[own == j]
        rho = torch.corrcoef(torch.stack([w, z]))[0, 1]
        values = maps.rho[own == j]
        torch.testing.assert_close(values, rho.expand_as(values), rtol=1e-3, atol=1e-5)
        assert len(maps.probability[own == j].unique()) == 1
    torch.testing.assert_close(maps.rho_hat, torch.full_like(maps.rho_hat, STRENGTH * maps.gain))


def test_maps_are_means_over_their_cells() -> None:
    fine = single_slic(forged(), windows(), 1, 60)
    coarse = single_slic(forged(), windows(), STRIDE, 60)
    for a, b in zip(fine[:3], coarse[:3], strict=True):
        whole = a[:400, :512].reshape(50, 8, 64, 8).mean((1, 3))
        torch.testing.assert_close(b[:50, :64], whole)


def test_saturated_superpixels_are_no_evidence() -> None:
    given = forged()
    rgb = given.rgb.clone()
    rgb[star()] = 255
    saturated = Signals(rgb, given.W, given.Z)
    for maps in (multi_slic(saturated, windows(), STRIDE), single_slic(saturated, windows())):
        centre = (HEIGHT // 2 // STRIDE, WIDTH // 2 // STRIDE)
        assert maps.probability[centre] == 0.5
        assert maps.rho_hat[centre] == 0
        assert maps.probability[0, 0] < 0.5


def test_the_prediction_follows_how_strongly_the_image_shows_it() -> None:
    weak = forged(strength=STRENGTH / 2)
    maps = multi_slic(weak, windows(), STRIDE)
    assert maps.gain == pytest.approx(0.5, abs=0.05)
    assert overlap(maps, star()) > 0.8
    plain = [replace(model, image_gain=False) for model in windows()]
    strict = multi_slic(weak, plain, STRIDE)
    assert strict.gain == 1
    torch.testing.assert_close(strict.rho_hat, torch.full_like(strict.rho_hat, STRENGTH))


class Ramp:
    """A predictor that does not work on features: it grows from left to right."""

    name: ClassVar[str] = "ramp"
    window: int | None = 64

    def predict_dense(self, rgb: Any, stride: int = 1) -> torch.Tensor:
        rows, columns = -(-rgb.shape[0] // stride), -(-rgb.shape[1] // stride)
        return (torch.arange(columns) * stride / WIDTH - 0.1).expand(rows, columns)


@pytest.mark.parametrize("count", [60, 600])
def test_a_dense_predictor_counts_with_its_mean_over_the_superpixel(count: int) -> None:
    """Below 0 it counts as 0; superpixels of too few pixels take in their surround."""
    given = forged()
    dense: Any = Ramp()
    model = replace(windows(64)[0], window=16, predictor=dense, image_gain=False)
    maps = single_slic(given, [model], 1, count)
    labels = superpixels(given.rgb, count).at(1)
    ramp = dense.predict_dense(given.rgb, 8).clamp(min=0)
    per_pixel = ramp.repeat_interleave(8, 0).repeat_interleave(8, 1)[:HEIGHT, :WIDTH]
    enough = 0
    for j in labels.unique():
        own = labels == j
        if own.sum() >= 16**2:
            enough += 1
            assert float(maps.rho_hat[own][0]) == pytest.approx(float(per_pixel[own].mean()))
    assert enough > 0.5 * count


@pytest.mark.parametrize("shape", [(1, 1), (1, 90), (90, 1), (7, 50), (33, 31)])
@pytest.mark.parametrize("level", [None, 0, 255])
def test_odd_images(shape: tuple[int, int], level: int | None) -> None:
    generator = torch.Generator().manual_seed(0)
    rgb = torch.randint(0, 256, (*shape, 3), generator=generator, dtype=torch.uint8)
    rgb = rgb if level is None else torch.full_like(rgb, level)
    W, Z = (torch.randn(shape, generator=generator) for _ in range(2))
    for given in (Signals(rgb, W, Z), Signals(rgb, 0 * W, 0 * Z)):
        for maps in (
            multi_slic(given, windows(), STRIDE),
            single_slic(given, windows(), STRIDE, 30),
            single_slic(given, windows(), STRIDE, 1),
        ):
            assert maps.probability.shape == (-(-shape[0] // 8), -(-shape[1] // 8))
            assert all(bool(values.isfinite().all()) for values in maps[:3])


@pytest.mark.parametrize(
    ("chosen", "counts"), [([], None), (windows(), []), (windows(), [0]), (windows(64, 64), None)]
)
def test_what_cannot_be_asked_for(chosen: Sequence[WindowModel], counts: list[int] | None) -> None:
    with pytest.raises(ValueError, match=r"superpixels|window"):
        multi_slic(forged(), chosen, STRIDE, counts)


def test_no_pixels() -> None:
    empty = torch.zeros(0, 5)
    with pytest.raises(ValueError, match="pixels"):
        multi_slic(Signals(torch.zeros(0, 5, 3, dtype=torch.uint8), empty, empty), windows())
