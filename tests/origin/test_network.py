"""The network's layers, and files of it."""

from __future__ import annotations

import io

import numpy as np
import pytest
import safetensors.torch
import torch
from pydantic import ValidationError
from torch import nn

from forensics.origin import weights
from forensics.origin.filters import channel_variances, mosaic
from forensics.origin.judge import judge, predictor
from forensics.origin.network import NetworkSettings, OriginNetwork, probabilities
from forensics.origin.patches import PatchSettings, cut
from forensics.records import UserError
from tests.origin.networks import CLASSES, SIDE, TINY, of_class, tiny_network


def patches(count: int, side: int = SIDE) -> torch.Tensor:
    rng = np.random.default_rng(0)
    return torch.from_numpy(rng.integers(0, 256, (count, side, side, 3), np.uint8))


def vgg(width: float = 1 / 16) -> OriginNetwork:
    return OriginNetwork(TINY.model_copy(update={"scenario": "vgg", "width": width}))


def published(seed: int = 0) -> dict[str, torch.Tensor]:
    """As a VGG-19 of torchvision names its tensors."""
    generator = torch.Generator().manual_seed(seed)

    def made(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    return {
        "features.0.weight": made(64, 3, 3, 3),
        "features.0.bias": made(64),
        "features.2.weight": made(64, 64, 3, 3),
        "features.2.bias": made(64),
        "classifier.6.bias": made(1000),
    }


def saved(state: dict[str, torch.Tensor]) -> bytes:
    file = io.BytesIO()
    torch.save(state, file)
    return file.getvalue()


def test_the_papers_layers() -> None:
    with torch.device("meta"):
        network = OriginNetwork(NetworkSettings(classes=CLASSES))
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert [c.out_channels for c in convolutions] == [64, 64, 32, 32, 64, 64, 128]
    assert {(c.kernel_size, c.stride) for c in convolutions} == {((3, 3), (1, 1))}
    kinds = [[type(part) for part in layer] for layer in network.layers]
    assert kinds[:2] == [[nn.Conv2d, nn.BatchNorm2d, nn.ReLU]] * 2
    assert kinds[2:] == [[nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.MaxPool2d]] * 5
    _, dense, _, dropout = network.hidden
    assert (dense.in_features, dense.out_features) == (128 * 7 * 7, 2048)
    assert dropout.p == pytest.approx(0.8)  # keeps 0.2
    assert (network.classifier.in_features, network.classifier.out_features) == (2048, 3)


def test_pixels_enter_as_vgg_wants_them() -> None:
    network = tiny_network()
    x = patches(2)
    scaled = (x.movedim(-1, 1) / 255 - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / (
        torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    )
    with torch.no_grad():
        expected = network.classifier(network.hidden(network.layers(scaled)))
        torch.testing.assert_close(network(x), expected)
    shares = probabilities(network, x)
    torch.testing.assert_close(shares, torch.softmax(expected, 1))
    torch.testing.assert_close(probabilities(network, x, batch=1), shares)
    assert probabilities(network, x[:0]).shape == (0, 3)


def test_the_seed_decides_the_weights_and_nothing_else_changes() -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    one, same, other = (OriginNetwork(TINY, seed) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(one.first, same.first)
    assert not torch.equal(one.first, other.first)


def test_settings_that_mean_nothing_are_refused() -> None:
    for wrong in (
        {"classes": ("a",)},
        {"classes": ("a", "a")},
        {"classes": ("a", "b"), "natural": "c"},
        {"classes": ("a", "b"), "side": 100},
    ):
        with pytest.raises(ValidationError):
            NetworkSettings.model_validate(wrong)


def test_a_file_gives_the_network_back() -> None:
    network = tiny_network()
    data = weights.to_bytes(network)
    trained = weights.from_bytes(data, "here")
    assert trained.network.settings == network.settings
    assert not trained.network.training
    assert torch.equal(trained.network(patches(2)), network(patches(2)))
    assert len(trained.digest) == 64


def test_other_files_are_refused_with_their_name() -> None:
    with pytest.raises(UserError, match="here"):
        weights.from_bytes(b"nothing of the kind", "here")
    state = {name: t.contiguous() for name, t in tiny_network().state_dict().items()}
    with pytest.raises(UserError, match="here holds no trained origin network"):
        weights.from_bytes(safetensors.torch.save(state), "here")
    with pytest.raises(UserError, match="here: the settings in it cannot be read"):
        weights.from_bytes(safetensors.torch.save(state, {"origin_settings": "{}"}), "here")
    settings = TINY.model_copy(update={"width": 0.5}).model_dump_json()
    with pytest.raises(UserError, match="here: its tensors are not those of the network"):
        weights.from_bytes(safetensors.torch.save(state, {"origin_settings": settings}), "here")


@pytest.mark.parametrize("kind", ["torchvision", "safetensors", "ours"])
def test_the_first_layers_of_vgg(kind: str) -> None:
    state = published()
    expected = {n: state[f"features.{2 * k}.{n.rpartition('.')[2]}"] for k, n in _fixed_names()}
    if kind == "torchvision":
        data = saved(state)
    elif kind == "safetensors":
        data = safetensors.torch.save(state)
    else:
        data = safetensors.torch.save(expected)
    network = vgg()
    weights.fix_first_layers(network, data, "vgg19.pth")
    for name, tensor in expected.items():
        assert torch.equal(network.state_dict()[name], tensor)
    frozen = {name for name, p in network.named_parameters() if not p.requires_grad}
    assert frozen == set(expected)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in network.layers[:2].modules())
    assert weights.from_bytes(weights.to_bytes(network), "x").network.settings.scenario == "vgg"


def _fixed_names() -> list[tuple[int, str]]:
    return [(k, f"layers.{k}.0.{what}") for k in (0, 1) for what in ("weight", "bias")]


def test_files_without_those_layers_are_refused() -> None:
    state = published()
    del state["features.2.bias"]
    with pytest.raises(UserError, match=r"vgg\.pth: it holds neither features\.0\.weight"):
        weights.fix_first_layers(vgg(), saved(state), "vgg.pth")
    wrong = {**published(), "features.0.weight": torch.zeros(32, 3, 3, 3)}
    with pytest.raises(UserError, match=r"layers\.0\.0\.weight \(32, 3, 3, 3\)"):
        weights.fix_first_layers(vgg(), saved(wrong), "vgg.pth")
    with pytest.raises(UserError, match="this network's is ada"):
        weights.fix_first_layers(tiny_network(), saved(published()), "vgg.pth")


def test_an_image_is_judged_by_the_patches_that_were_drawn() -> None:
    network, settings = tiny_network(), PatchSettings(side=SIDE, count=70)
    rgb = of_class(0, 0)
    judged = judge(rgb, settings, predictor(network), 3)
    assert judged.probabilities.shape == (70, 3)
    expected = probabilities(network, torch.from_numpy(cut(rgb, judged.selection.corners, SIDE)))
    np.testing.assert_allclose(judged.probabilities, expected.numpy(), atol=1e-6)


def test_filters_as_numbers_and_as_a_picture() -> None:
    rng = np.random.default_rng(0)
    found = rng.normal(0, [[[[1]], [[2]], [[3]]]], (10, 3, 3, 3)).astype(np.float32)
    expected = [found[:, c].astype(float).var() for c in range(3)]
    assert channel_variances(found) == pytest.approx(expected)
    sheet = mosaic(found, 1)
    assert sheet.shape == (2 * 4 - 1, 8 * 4 - 1)
    assert np.array_equal(sheet[4:7, 4:7], found[9, 1])
    assert np.isnan(sheet[3]).all()
    assert np.isnan(sheet[4:, 7:]).all()
