"""The segmentation-guided window against plain morphology, and against the plain window."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage

from forensics.localize.cells import cell_means
from forensics.localize.guided import segment_guided
from forensics.localize.signals import LocalMaps, Signals
from forensics.localize.sizes import SizeModel
from forensics.localize.windows import sliding_window
from forensics.prnu.camera_model import WindowModel
from forensics.prnu.predictors import LSEPredictor
from forensics.records import UserError
from tests.localize.test_windows import constant_predictor, model

STRIDE = 8
CROSS = ndimage.generate_binary_structure(2, 1)
DISK = ndimage.iterate_structure(CROSS, 2)


def noise(rgb: torch.Tensor, strength: float = 0.2, seed: int = 0) -> Signals:
    """The colours with a fingerprint of that strength under them."""
    generator = torch.Generator().manual_seed(seed)
    Z = torch.randn(rgb.shape[:2], generator=generator)
    return Signals(rgb, strength * Z + torch.randn(rgb.shape[:2], generator=generator), Z)


def models(*sizes: int, rho: float = 0.2) -> list[WindowModel]:
    return [replace(model(rho), window=w, sigma0=1 / w, sigma1=1.5 / w) for w in sizes]


def patchwork(height: int, width: int) -> torch.Tensor:
    """Smooth colours of several levels under a little noise."""
    rng = np.random.default_rng(2)
    levels = ndimage.gaussian_filter(rng.normal(size=(height, width)), 6)
    base = 40 + 60 * np.digitize(levels, np.quantile(levels, [0.3, 0.6, 0.8]))
    rgb = base[..., None] * [1.0, 0.8, 0.6] + rng.normal(0, 12, (height, width, 3))
    return torch.from_numpy(np.clip(rgb, 0, 255).astype(np.uint8))


def region(
    colours: NDArray[Any], y: int, x: int, counts: NDArray[Any], threshold: float, pixels: int
) -> NDArray[np.bool_]:
    """Blocks chosen around block (y, x), by SciPy's morphology."""
    near = (slice(max(y - 16, 0), y + 16), slice(max(x - 16, 0), x + 16))
    centre = (y - near[0].start, x - near[1].start)
    alike = np.abs(colours[near] - colours[y, x]).mean(axis=-1) < threshold
    wide = ndimage.binary_dilation(alike, DISK)
    closed = ndimage.binary_erosion(wide, DISK, border_value=1)
    labels, _ = ndimage.label(closed, np.ones((3, 3)))
    chosen = labels == labels[centre]
    while counts[near][chosen].sum() < pixels and not chosen.all():
        chosen = ndimage.binary_dilation(chosen, CROSS)
    whole = np.zeros(counts.shape, bool)
    whole[near] = chosen
    return whole


@pytest.mark.parametrize(("window", "smallest"), [(64, 16), (64, 32), (128, 32)])
def test_equals_plain_morphology_pixel_by_pixel(window: int, smallest: int) -> None:
    given, threshold = noise(patchwork(101, 134)), 20.0
    chosen = [replace(models(16)[0], predictor=constant_predictor(0.1)), *models(96)]
    maps = segment_guided(given, chosen, STRIDE, window, threshold, smallest)
    block = window // 32
    colours = cell_means(given.rgb.numpy().transpose(2, 0, 1), block).transpose(1, 2, 0)
    ones = np.ones((101, 134))
    height, width = colours.shape[:2]
    counts = np.add.reduceat(np.add.reduceat(ones, np.arange(height) * block, 0),
                             np.arange(width) * block, 1)  # fmt: skip
    W, Z = given.W.double().numpy(), given.Z.double().numpy()
    sides = set()
    for i, j in np.ndindex(*maps.rho.shape):
        y, x = (min(n * STRIDE + STRIDE // 2, s - 1) // block for n, s in ((i, 101), (j, 134)))
        blocks = region(colours, y, x, counts, threshold, smallest**2)
        pixels = np.kron(blocks, np.ones((block, block), bool))[:101, :134]
        expected = np.corrcoef(W[pixels], Z[pixels])[0, 1]
        assert float(maps.rho[i, j]) == pytest.approx(expected, abs=1e-5)
        side = torch.tensor([pixels.sum() ** 0.5])
        rho_hat = SizeModel(chosen).rho_hat(side, torch.tensor([[0.1], [0.2]]))
        assert float(maps.rho_hat[i, j]) == pytest.approx(maps.gain * float(rho_hat), rel=1e-4)
        sides.add(float(side))
    assert min(sides) >= smallest - 1e-6
    assert len(sides) > 50


@pytest.mark.parametrize("window", [64, 128])
def test_on_one_colour_it_is_the_plain_window(window: int) -> None:
    given = noise(torch.full((304, 344, 3), 100, dtype=torch.uint8))
    chosen = models(32, 64, 128, 256)
    guided = segment_guided(given, chosen, STRIDE, window)
    plain = sliding_window(given, next(m for m in chosen if m.window == window), STRIDE)
    inner = (slice(8, -8), slice(8, -8))
    torch.testing.assert_close(guided.rho, plain.rho, rtol=0, atol=1e-5)
    assert guided.gain == pytest.approx(plain.gain, rel=0.02)
    torch.testing.assert_close(
        guided.rho_hat[inner] / guided.gain, plain.rho_hat[inner] / plain.gain
    )
    torch.testing.assert_close(
        guided.probability[inner], plain.probability[inner], rtol=0, atol=0.01
    )


def two_colours(strength: float = 0.3) -> Signals:
    """The right part, of another colour, lacks the fingerprint."""
    rgb = torch.full((256, 320, 3), 90, dtype=torch.uint8)
    rgb[:, 200:] = torch.tensor([160, 90, 60], dtype=torch.uint8)
    given = noise(rgb, strength)
    W = given.W.clone()
    W[:, 200:] = torch.randn(256, 120, generator=torch.Generator().manual_seed(9))
    return replace(given, W=W)


def test_does_not_look_across_a_border_of_colours() -> None:
    given, chosen = two_colours(), models(32, 64, 128, rho=0.3)
    guided = segment_guided(given, chosen, STRIDE).probability
    plain = sliding_window(given, chosen[2], STRIDE).probability
    truth = torch.arange(guided.shape[1]) * STRIDE >= 200
    assert bool(((guided > 0.5) == truth).all())
    assert bool(((plain > 0.5) != truth).any())


def test_the_same_colour_elsewhere_is_not_used() -> None:
    """Two bars of the centre's colour in one window: the far one has no fingerprint."""
    rgb = torch.full((128, 128, 3), 200, dtype=torch.uint8)
    rgb[:, 40:72] = 80
    rgb[:, 96:120] = 80
    given = noise(rgb, 1.0)
    W = given.W.clone()
    W[:, 80:] = torch.randn(128, 48, generator=torch.Generator().manual_seed(9))
    maps = segment_guided(replace(given, W=W), models(32, 64, 128), STRIDE)
    bar = (slice(None), slice(40, 72))
    expected = np.corrcoef(W[bar].flatten().numpy(), given.Z[bar].flatten().numpy())[0, 1]
    assert float(maps.rho[8, 6]) == pytest.approx(expected, abs=0.02)
    assert expected > 0.65


def test_features_are_those_of_the_chosen_pixels() -> None:
    """A predictor of intensity alone, on halves of 50 and 200."""
    rgb = torch.full((256, 256, 3), 50, dtype=torch.uint8)
    rgb[:, 128:] = 200
    theta = torch.zeros(15, dtype=torch.float64)
    theta[1] = 0.5
    state = {"theta": theta, "range": torch.tensor([0.0, 1.0]), "window": torch.tensor(64)}
    own = LSEPredictor.from_state(state)
    chosen = [replace(m, predictor=own, image_gain=False) for m in models(32, 128)]
    maps = segment_guided(noise(rgb), chosen, STRIDE)
    expected = torch.tensor([0.5 * 50 / 250] * 16 + [0.5 * 200 / 250] * 16)
    wide = torch.ones(32, dtype=torch.bool)
    wide[[8, 23]] = (
        False  # their windows hold so little of the other half that the closing fills it
    )
    torch.testing.assert_close(
        maps.rho_hat[:, wide], expected.expand(32, 32)[:, wide], rtol=1e-4, atol=0
    )
    assert maps.gain == 1


class Ramp:
    """A predictor that is none of features: its dense map rises to the right."""

    name, window = "ramp", 64

    def predict_dense(self, rgb: torch.Tensor, stride: int = 1) -> torch.Tensor:
        shape = [-(-n // stride) for n in rgb.shape[:2]]
        return torch.linspace(-0.1, 0.3, shape[1]).expand(*shape)


def test_other_predictors_give_the_value_of_their_dense_map() -> None:
    rgb = torch.full((128, 160, 3), 100, dtype=torch.uint8)
    chosen = [replace(models(128)[0], predictor=cast(Any, Ramp()), image_gain=False)]
    maps = segment_guided(noise(rgb), chosen, STRIDE)
    expected = torch.linspace(-0.1, 0.3, 20).clamp(min=0).expand(16, 20)
    torch.testing.assert_close(maps.rho_hat, expected)


def finite(maps: LocalMaps, shape: tuple[int, int]) -> bool:
    return all(m.shape == shape and bool(m.isfinite().all()) for m in maps[:3])


@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (31, 33), (130, 64)])
@pytest.mark.parametrize("stride", [1, 5, 16])
def test_any_size_and_stride(shape: tuple[int, int], stride: int) -> None:
    if stride == 1 and shape[0] > 100:
        stride = 3
    rgb = torch.randint(0, 256, (*shape, 3), dtype=torch.uint8)
    maps = segment_guided(noise(rgb), models(32, 64), stride, 64)
    assert finite(maps, (-(-shape[0] // stride), -(-shape[1] // stride)))


def test_nothing_to_correlate() -> None:
    rgb = torch.zeros(100, 120, 3, dtype=torch.uint8)
    blank = Signals(rgb, torch.zeros(100, 120), torch.zeros(100, 120))
    maps = segment_guided(blank, models(32, 64), STRIDE)
    assert finite(maps, (13, 15))
    assert not maps.rho.any()


def test_a_saturated_part_is_no_evidence_and_its_neighbours_are_untouched() -> None:
    given = two_colours()
    rgb = given.rgb.clone()
    rgb[:, 200:] = 255
    maps = segment_guided(replace(given, rgb=rgb), models(32, 64, 128, rho=0.3), STRIDE)
    assert bool((maps.probability[:, 25:] == 0.5).all())
    assert not maps.rho_hat[:, 25:].any()
    assert maps.probability[:, :25].max() < 0.5


def test_refuses_bad_arguments() -> None:
    given = noise(torch.zeros(64, 64, 3, dtype=torch.uint8))
    for window in (0, 16, 100):
        with pytest.raises(UserError, match="multiple of 32"):
            segment_guided(given, models(64), STRIDE, window)
    with pytest.raises(ValueError, match="distinct sizes"):
        segment_guided(given, [], STRIDE)
    with pytest.raises(ValueError, match="above 0"):
        segment_guided(given, models(64), STRIDE, 64, threshold=0)
