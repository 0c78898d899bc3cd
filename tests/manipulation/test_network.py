"""The network: the descriptor exactly where it starts, gradients, and dense as patch by patch."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PilImage
from pydantic import ValidationError
from torch import Tensor

from forensics.manipulation.base import NetworkSettings
from forensics.manipulation.codebook import hard_histogram, soft_histogram, soft_maps
from forensics.manipulation.dense import dense_scores
from forensics.manipulation.descriptor import BINS, HALF, frequencies, srm_histogram
from forensics.manipulation.network import ResidualNetwork
from forensics.manipulation.windows import Axis
from forensics.synth.camera import SimulatedCamera
from tests.manipulation.textures import texture

SMALL = NetworkSettings(classes=("pristine", "blur-0.5", "jpeg-90"), window=24)


def random_network(seed: int = 0) -> ResidualNetwork:
    """One that has been trained to nothing in particular."""
    network = ResidualNetwork(SMALL)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for branch in network.branches:
            branch.filters += 0.05 * torch.randn(branch.filters.shape, generator=generator)
            branch.codewords += 0.005 * torch.randn(branch.codewords.shape, generator=generator)
        network.classifier.weight.normal_(generator=generator)
        network.classifier.bias.normal_(generator=generator)
        network.feature_scale.uniform_(0.5, 2, generator=generator)
    return network


def test_hard_max_counts_are_the_descriptor_on_textures() -> None:
    for shape in [(3, 24, 24), (2, 7, 7), (1, 9, 40)]:
        patches = torch.from_numpy(texture(*shape))
        assert torch.equal(ResidualNetwork(SMALL).counts(patches), srm_histogram(patches))
    noise = torch.randint(0, 256, (2, 32, 32), dtype=torch.uint8)
    assert torch.equal(ResidualNetwork(SMALL).counts(noise), srm_histogram(noise))


def test_hard_max_counts_are_the_descriptor_on_a_simulated_photo() -> None:
    photo = SimulatedCamera(seed=5, height=160, width=192).natural(1)
    green = torch.from_numpy(np.ascontiguousarray(photo[..., 1]))[None]
    assert torch.equal(ResidualNetwork(SMALL).counts(green), srm_histogram(green))


def test_hard_max_counts_are_the_descriptor_on_real_photos(shared: Path) -> None:
    folders = sorted((shared / "data" / "cameras").glob("*/natural"))
    assert folders
    for folder in folders:
        with PilImage.open(sorted(folder.iterdir())[0]) as photo:
            top, left = photo.height // 2, photo.width // 2
            green = np.asarray(photo.crop((left, top, left + 256, top + 128)).convert("RGB"))[
                ..., 1
            ]
        patches = torch.from_numpy(np.stack([green[:, :128], green[:, 128:]]))
        assert torch.equal(ResidualNetwork(SMALL).counts(patches), srm_histogram(patches))


def test_every_code_is_reached() -> None:
    """Residuals set at will: the scores are those of the quantiser, not only for what photos do."""
    levels = torch.tensor(list(itertools.product((-4.5, 0.0, 4.5), repeat=4))) / 255
    branch = ResidualNetwork(SMALL).across
    counts = hard_histogram(levels.T[None].contiguous(), branch.codewords, branch.biases)
    assert torch.equal(counts, torch.ones(1, HALF, dtype=torch.int64))
    for size, level in ((2.0, 1), (3.0, 2), (-2.0, 1), (-3.0, 0), (900.0, 2)):
        residual = torch.full((1, 4, 1), size / 255)
        counts = hard_histogram(residual, branch.codewords, branch.biases)
        assert int(counts.argmax()) == 40 * level


def test_soft_shares_add_up_and_tend_to_the_hard_ones() -> None:
    patches = torch.from_numpy(texture(2, 40, 40))
    network = ResidualNetwork(SMALL)
    features = network.features(patches).detach()
    assert features[:, :HALF].sum(1) == pytest.approx([1, 1], abs=1e-5)
    assert features[:, HALF:].sum(1) == pytest.approx([1, 1], abs=1e-5)
    branch = network.across
    residuals = branch.residuals(patches.float() / 255).flatten(2)
    soft = soft_histogram(residuals, branch.codewords, branch.biases, 2.0**26)
    hard = hard_histogram(residuals, branch.codewords, branch.biases)
    assert torch.allclose(soft, hard.float(), atol=1e-3)
    assert not torch.allclose(features, frequencies(srm_histogram(patches)), atol=1e-3)


def test_thinned_features_are_those_of_the_places_left() -> None:
    patches = torch.from_numpy(texture(2, 25, 26)).float()
    network = random_network()
    features = network.features(patches, step=3)
    branch = network.across
    sums = 0
    for turned in (patches, patches.mT):
        every = branch.residuals(turned / 255)[:, :, ::3, ::3].flatten(2)
        sums = sums + soft_histogram(every, branch.codewords, branch.biases, 2.0**16)
    assert torch.allclose(features[:, :HALF], sums / sums.sum(1, keepdim=True), atol=1e-6)


def naive(residuals: Tensor, codewords: Tensor, biases: Tensor, alpha: float) -> Tensor:
    scores = torch.einsum("kn,bnp->bkp", codewords, residuals) + biases[:, None]
    return torch.softmax(alpha * scores, 1).sum(2)


@pytest.mark.parametrize("length", [5, 3000])
def test_soft_histogram_and_its_gradient_are_the_formula_s(length: int) -> None:
    generator = torch.Generator().manual_seed(1)
    inputs = [
        torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()
        for shape in [(3, 4, length), (9, 4), (9,)]
    ]
    upstream = torch.randn(3, 9, generator=generator, dtype=torch.float64)
    results = []
    for function in (soft_histogram, naive):
        value = function(*inputs, 2.5)  # type: ignore[arg-type]
        results.append([value, *torch.autograd.grad((value * upstream).sum(), inputs)])
    for ours, theirs in zip(*results, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-9, atol=1e-9)


def test_soft_maps_sum_to_the_histogram() -> None:
    generator = torch.Generator().manual_seed(2)
    residuals = torch.randn(4, 2500, generator=generator) / 50
    branch = ResidualNetwork(SMALL).along
    codewords, biases = branch.codewords.detach(), branch.biases.detach()
    maps = soft_maps(residuals, codewords, biases, 2.0**16, torch.eye(HALF))
    assert maps.sum(0) == pytest.approx(torch.ones(2500), abs=1e-5)
    histogram = soft_histogram(residuals[None], codewords, biases, 2.0**16)
    assert torch.allclose(maps.sum(1), histogram[0], rtol=1e-4, atol=1e-3)


def test_the_transpose_gives_the_same_scores() -> None:
    patches = torch.from_numpy(texture(2, 24, 24))
    network = random_network()
    assert torch.allclose(network(patches), network(patches.mT), atol=1e-5)


def test_the_linear_layer_sees_standardised_features() -> None:
    network = random_network()
    features = torch.rand(5, BINS)
    weight, bias = network.linear()
    assert torch.allclose(network.classify(features), features @ weight.T + bias, atol=1e-3)


@pytest.mark.parametrize(
    ("shape", "stride"),
    [((40, 50), 8), ((24, 24), 8), ((33, 70), 5), ((60, 31), 1), ((80, 90), 40)],
)
def test_dense_scores_are_those_of_every_window(shape: tuple[int, int], stride: int) -> None:
    plane, network = torch.from_numpy(texture(*shape)), random_network()
    scores = dense_scores(network, plane, stride)
    rows, columns = (Axis.of(size, 24, stride) for size in shape)
    assert scores.shape == (rows.count, columns.count, 3)
    for i, j in itertools.product(range(rows.count), range(columns.count)):
        y, x = rows.first + i * stride, columns.first + j * stride
        expected = network(plane[None, y : y + 24, x : x + 24])[0]
        assert torch.allclose(scores[i, j], expected, rtol=1e-4, atol=1e-4)


def test_strips_do_not_change_dense_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    plane, network = torch.from_numpy(texture(200, 64)), random_network()
    at_once = dense_scores(network, plane, 8)
    monkeypatch.setattr("forensics.manipulation.dense._PIXELS", {"cpu": 1})
    in_strips = dense_scores(network, plane, 8)
    assert torch.allclose(at_once, in_strips, rtol=1e-5, atol=1e-5)


def test_dense_refuses_what_it_cannot_do() -> None:
    network = ResidualNetwork(SMALL)
    with pytest.raises(ValueError, match="no window of 24 px"):
        dense_scores(network, torch.zeros(23, 40, dtype=torch.uint8), 8)
    with pytest.raises(ValueError, match="needs uint8"):
        dense_scores(network, torch.zeros(40, 40), 8)


@pytest.mark.parametrize("classes", [("pristine",), ("pristine", "a", "a")])
def test_settings_are_checked(classes: tuple[str, ...]) -> None:
    with pytest.raises(ValidationError):
        NetworkSettings(classes=classes)


def test_it_is_small() -> None:
    network = ResidualNetwork(NetworkSettings())
    assert sum(p.numel() for p in network.parameters()) < 4000
    with torch.no_grad():
        assert torch.equal(network(torch.zeros(1, 128, 128)), torch.zeros(1, 16))
