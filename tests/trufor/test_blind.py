"""The blind localizer on noise planes whose larger part is known, and behind a Noiseprint++."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from forensics.evaluate.metrics import auc
from forensics.records import UserError
from forensics.trufor.blind import STRIDE, WINDOW, BlindLocalizer, anomalies
from forensics.trufor.noiseprint import Noiseprint

Plane = NDArray[np.float32]


def noise(seed: int, height: int, width: int, taps: tuple[float, ...]) -> Plane:
    """White noise run through a filter across: the traces of one camera."""
    white = np.random.default_rng(seed).normal(size=(height, width + len(taps) - 1))
    rows = sum(tap * white[:, k : k + width] for k, tap in enumerate(taps))
    return np.asarray(rows / np.linalg.norm(taps), np.float32)


def spliced(side: int = 384) -> tuple[Plane, NDArray[np.bool_]]:
    """A plane with an insert of other correlation, of the same variance."""
    plane, mask = noise(1, side, side, (1, 0.6, 0.2)), np.zeros((side, side), bool)
    mask[160:320, 32:208] = True
    plane[mask] = noise(2, side, side, (1, -0.5, 0.2))[mask]
    return plane, mask


def cells(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return mask[STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE]


def test_an_insert_with_other_traces_is_found() -> None:
    plane, mask = spliced()
    found = anomalies(plane)
    assert found.map.shape == (48, 48)
    assert found.map.dtype == np.float32
    assert 0 <= found.map.min() < found.map.max() <= 1
    assert auc(found.map, cells(mask)) > 0.97
    assert np.mean((found.map > 0.5) == cells(mask)) > 0.9


def test_the_larger_part_is_the_background_whichever_it_is() -> None:
    plane, mask = noise(1, 384, 384, (1, 0.6, 0.2)), np.zeros((384, 384), bool)
    mask[:, :150] = True
    plane[mask] = noise(2, 384, 384, (1, -0.5, 0.2))[mask]
    other = plane.copy()[:, ::-1]
    assert auc(anomalies(plane).map, cells(mask)) > 0.95
    assert auc(anomalies(other).map, cells(mask[:, ::-1])) > 0.95


def test_plain_noise_has_a_lower_score() -> None:
    plain = anomalies(noise(3, 384, 400, (1, 0.6, 0.2)))
    assert plain.map.shape == (48, 50)
    assert plain.score < 0.5 * anomalies(spliced()[0]).score


def test_scale_and_offset_do_not_matter_and_tensors_stay_tensors() -> None:
    plane, _ = spliced(256)
    expected, scaled = anomalies(plane), anomalies(torch.from_numpy(4 * plane + 1))
    assert isinstance(scaled.map, torch.Tensor)
    np.testing.assert_allclose(scaled.map.numpy(), expected.map, atol=1e-3)
    assert scaled.score == pytest.approx(expected.score, abs=1e-3)


def test_a_constant_plane_says_nothing() -> None:
    found = anomalies(np.zeros((WINDOW, WINDOW + 16), np.float32))
    assert found.score == found.map.max() == 0


@pytest.mark.parametrize("shape", [(WINDOW - 1, 300), (300, WINDOW - 1), (2, 300, 300)])
def test_a_plane_that_no_window_fits_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"at least 64 a side"):
        anomalies(np.zeros(shape, np.float32))


def test_noiseprint_and_search_make_a_map_of_the_image() -> None:
    torch.manual_seed(0)
    net = Noiseprint(depth=3, channels=4).eval()
    with torch.no_grad():  # differences of neighbours: a high-pass filter
        for layer, weight in ((net[0], (-1.0, 2.0, -1.0)), (net[2], None), (net[5], None)):
            layer.weight.zero_()  # type: ignore[union-attr]
            for channel in range(len(layer.weight)):  # type: ignore[union-attr,arg-type]
                if weight:
                    sign = 1 if channel % 2 else -1
                    layer.weight[channel, 1, 1] = sign * torch.tensor(weight)  # type: ignore[index]
                else:
                    layer.weight[channel, channel, 1, 1] = 1  # type: ignore[index]
        net[5].weight[0, 0, 1, 1], net[5].weight[0, 1, 1, 1] = -1, 1  # type: ignore[index]
    plane, mask = spliced(300)
    rgb = np.repeat(np.clip(128 + 20 * plane, 0, 255).astype(np.uint8)[..., None], 3, 2)
    found = BlindLocalizer(net).predict(rgb)
    assert found.map.shape == (300, 300)
    assert 0 < found.score < 1
    assert auc(found.map, mask) > 0.9
    with pytest.raises(ValueError, match=r"uint8 \(H, W, 3\)"):
        BlindLocalizer(net).predict(rgb.astype(np.float32))


def test_a_file_that_is_no_noiseprint_is_refused() -> None:
    with pytest.raises(UserError, match=r"weights\.th"):
        BlindLocalizer.from_bytes(b"nothing of the kind", where="weights.th")
