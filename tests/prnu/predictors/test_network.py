"""The network of the CNN predictor against its description, written out step by step."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from torch.nn.functional import avg_pool2d, conv2d, linear

from forensics.prnu.predictors.network import STEP, CNNSettings, CorrelationNetwork
from forensics.records import UserError

SMALL = CNNSettings(widths=(2, 3, 3, 4, 4, 5), hidden=6)


def random_network(settings: CNNSettings, window: int, seed: int = 0) -> CorrelationNetwork:
    """Random throughout: fresh networks predict a constant."""
    network = CorrelationNetwork(settings, window, seed).eval()
    generator = torch.Generator().manual_seed(seed + 1)
    torch.nn.init.normal_(network.hidden.weight, generator=generator)
    for name, parameter in network.named_parameters():
        if name.endswith("bias") or name.startswith("output"):
            torch.nn.init.normal_(parameter, std=0.2, generator=generator)
    network.output_offset.fill_(0.03)
    network.output_scale.fill_(0.02)
    return network


def pixels(height: int, width: int, seed: int = 0) -> torch.Tensor:
    """uint8 (H, W, 3)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (height, width, 3), dtype=torch.uint8, generator=generator)


def test_sizes_of_the_paper() -> None:
    network = CorrelationNetwork(CNNSettings(), 128)
    x, sizes = torch.zeros(1, 3, 128, 128), []
    for stage in network.stages:
        for layer in stage:
            x = layer(x)
            if isinstance(layer, torch.nn.Conv2d):
                sizes.append(tuple(x.shape[1:]))
        x = avg_pool2d(x, 2)
    assert sizes == [
        (6, 124, 124), (12, 120, 120), (18, 56, 56), (24, 52, 52), (30, 22, 22), (36, 18, 18),
    ]  # fmt: skip
    assert x.shape == (1, 36, 9, 9)
    assert network.hidden.weight.shape == (192, 36, 9, 9)
    assert network.output.weight.shape == (1, 192, 1, 1)


@pytest.mark.parametrize(("window", "side"), [(64, 1), (96, 5), (128, 9), (192, 17), (256, 25)])
def test_windows_that_fit(window: int, side: int) -> None:
    assert CNNSettings().last_map(window) == side


@pytest.mark.parametrize(("window", "named"), [(32, "64 or 72"), (100, "96 or 104"), (0, "64 or")])
def test_windows_that_do_not_fit_name_those_that_do(window: int, named: str) -> None:
    with pytest.raises(UserError, match=named):
        CorrelationNetwork(CNNSettings(), window)


def test_kernels_of_three_have_their_own_windows() -> None:
    settings = CNNSettings(kernel=3)
    assert settings.last_map(36) == 1
    with pytest.raises(UserError, match="124 or 132"):
        settings.last_map(128)


@pytest.mark.parametrize("wrong", [{"widths": (6, 12)}, {"kernel": 0}, {"hidden": 0}])
def test_settings_are_checked(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        CNNSettings.model_validate(wrong)


def test_equals_the_description_with_a_fully_connected_layer() -> None:
    network = random_network(SMALL, 72)
    block = pixels(72, 72)
    state = {name: value.double() for name, value in network.state_dict().items()}
    x = (block.movedim(-1, 0)[None].double() - 128) / 64
    for stage in range(3):
        for layer in (0, 2):
            name = f"stages.{stage}.{layer}"
            x = conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"]).relu()
        x = avg_pool2d(x, 2)
    weight = state["hidden.weight"].flatten(1) / 2**2
    x = linear(x.flatten(1), weight, state["hidden.bias"]).relu()
    x = linear(x, state["output.weight"].flatten(1), state["output.bias"])
    expected = 0.03 + 0.02 * x
    assert float(expected.std(correction=0)) == 0
    with torch.no_grad():
        found = network(block.movedim(-1, 0)[None])
    assert found.shape == (1, 1, 1)
    torch.testing.assert_close(found[0].double(), expected, atol=1e-6, rtol=1e-5)


def test_a_larger_image_gives_every_window_at_a_stride_of_eight() -> None:
    network = random_network(SMALL, 64)
    image = pixels(88, 83)
    with torch.no_grad():
        maps = network(image.movedim(-1, 0)[None])[0]
        assert maps.shape == (4, 3)
        for i in range(4):
            for j in range(3):
                block = image[i * STEP : i * STEP + 64, j * STEP : j * STEP + 64]
                alone = network(block.movedim(-1, 0)[None])[0, 0, 0]
                torch.testing.assert_close(maps[i, j], alone, atol=1e-6, rtol=0)


def test_starts_from_its_seed_and_at_zero() -> None:
    before = torch.get_rng_state()
    one, same, other = (CorrelationNetwork(SMALL, 64, seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    for a, b, c in zip(one.parameters(), same.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
        assert a.ndim == 1 or a.shape[0] == 1 or not torch.equal(a, c)
    assert torch.equal(one(pixels(64, 64).movedim(-1, 0)[None]), torch.zeros(1, 1, 1))


def test_the_fully_connected_layer_starts_on_the_mean_of_the_map() -> None:
    network = CorrelationNetwork(SMALL, 80, seed=3)
    torch.nn.init.ones_(network.output.weight)
    maps = torch.rand(2, 5, 3, 3, generator=torch.Generator().manual_seed(0))
    mean = maps.mean(dim=(2, 3), keepdim=True).expand_as(maps)
    with torch.no_grad():
        torch.testing.assert_close(network.head(maps), network.head(mean), atol=1e-5, rtol=0)
        assert float(network.head(maps).abs().min()) > 0


def test_signals_keep_their_size_through_the_layers() -> None:
    network = CorrelationNetwork(CNNSettings(), 128, seed=3)
    x = network.normalised(pixels(128, 128).movedim(-1, 0)[None])
    assert 0.9 < float(x.square().mean()) < 1.6
    with torch.no_grad():
        for stage in network.stages:
            x = avg_pool2d(stage(x), 2)
    assert 0.1 < float(x.square().mean()) < 10
