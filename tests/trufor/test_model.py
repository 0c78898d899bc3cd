"""Names, shapes and training of the plain network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import pytest
import torch
from pydantic import ValidationError

from forensics.config import load
from forensics.records import UserError
from forensics.trufor.encoder import B0, B1, PRESETS, Block, EncoderSettings
from forensics.trufor.fusion import FeatureRectify
from forensics.trufor.model import MEAN, STD, TruForNetwork, TruForSettings, enlarged
from forensics.trufor.noiseprint import Noiseprint, folded
from forensics.trufor.pooling import statistics, weighted_statistics
from tests.trufor.networks import TINY, tiny_network


def test_names_shapes_types_and_order_are_those_of_the_published_checkpoint(shared: Path) -> None:
    keys = json.loads((shared / "interop" / "trufor" / "state_dict_keys.json").read_text())
    state = TruForNetwork().state_dict()
    found = [[k, list(t.shape), str(t.dtype).removeprefix("torch.")] for k, t in state.items()]
    assert found == keys


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_a_network(name: str) -> None:
    with torch.device("meta"):
        network = TruForNetwork(load(TruForSettings, None, ["--encoder", name]))
    assert network.settings.encoder == PRESETS[name]
    millions = sum(p.numel() for p in network.backbone.parameters()) / 1e6
    assert millions == pytest.approx({"b0": 15.9, "b1": 45, "b2": 66}[name], rel=0.4)
    assert (B0.depths, B1.widths) == ((2, 2, 2, 2), (64, 128, 320, 512))


def test_an_encoder_without_settings_of_its_own_is_refused() -> None:
    with pytest.raises(UserError, match="no encoder is called 'b7': b0, b1, b2, or its parts"):
        load(TruForSettings, None, ["--encoder", "b7"])


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ValidationError, match="5 heads"):
        EncoderSettings(widths=(64, 128, 322, 512))


def test_weights_follow_from_the_seed_alone() -> None:
    torch.manual_seed(1)
    one = TruForNetwork(TINY, seed=5).state_dict()
    torch.manual_seed(2)
    again, other = (
        TruForNetwork(TINY, seed=5).state_dict(),
        TruForNetwork(TINY, seed=6).state_dict(),
    )
    assert all(torch.equal(one[name], again[name]) for name in one)
    name = "backbone.block1.0.attn.q.weight"
    assert not torch.equal(one[name], other[name])


def test_every_parameter_gets_a_gradient_in_training() -> None:
    network = TruForNetwork(TINY, drop_path=0).train()
    rgb = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    out = network(rgb)
    assert out.logits.shape == (2, 2, 64, 64)
    assert out.confidence.shape == out.noiseprint.shape == (2, 1, 64, 64)
    assert out.score.shape == (2, 1)
    (out.logits.square().mean() + out.confidence.square().mean() + out.score.sum()).backward()
    without = [name for name, p in network.named_parameters() if p.grad is None]
    assert without == []
    assert all(p.grad.isfinite().all() for p in network.parameters() if p.grad is not None)


@pytest.mark.parametrize(("inputs", "prefix"), [("rgb", ""), ("noiseprint", "extra_")])
def test_one_input_alone_is_a_segformer_with_the_names_of_its_branch(
    inputs: Literal["rgb", "noiseprint"], prefix: str
) -> None:
    settings = TINY.model_copy(update={"inputs": inputs})
    network = tiny_network(settings=settings)
    names = {name for name, _ in network.backbone.named_parameters()}
    both = {name for name, _ in tiny_network().backbone.named_parameters()}
    parts = ("patch_embed", "block", "norm")
    assert names == {n for n in both if n.startswith(tuple(f"{prefix}{part}" for part in parts))}
    rgb = torch.rand(1, 3, 45, 70, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = network(rgb)
        x = network.dncnn(rgb).permute(0, 2, 3, 1).expand(-1, -1, -1, 3)
        if inputs == "rgb":
            mean, std = torch.tensor(MEAN), torch.tensor(STD)
            x = (rgb.permute(0, 2, 3, 1) - mean) / std
        maps = []
        for i in range(4):
            x = network.backbone.stage(i, prefix)(x)
            maps.append(x)
        assert torch.allclose(found.logits, enlarged(network.decode_head(maps), (45, 70)))


def test_localizing_alone_gives_the_logits_and_leaves_the_confidence_out() -> None:
    network = tiny_network()
    network.decode_head_conf.register_forward_hook(lambda *_: pytest.fail("not needed"))
    rgb = torch.rand(1, 3, 45, 70, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = network.localize(rgb)
        assert torch.equal(found, tiny_network()(rgb).logits)


def test_a_batch_gives_what_its_images_give_alone() -> None:
    network = tiny_network()
    rgb = torch.rand(3, 3, 45, 70, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        together = network(rgb)
        for i in range(3):
            for one, batch in zip(network(rgb[i : i + 1]), together, strict=True):
                assert torch.allclose(one[0], batch[i], atol=1e-4)


def test_drop_path_leaves_out_parts_in_training_and_keeps_the_mean() -> None:
    block = Block(8, 1, 1, drop_path=0.5).eval()
    x = torch.randn(400, 2, 2, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        whole = block(x)
        torch.manual_seed(0)
        block.train()
        some = block(x)
        unchanged = (some == x).flatten(1).all(1).double().mean()
    assert 0.15 < float(unchanged) < 0.35  # both parts left out in a quarter of the images
    assert not torch.equal(whole, x)


def test_drop_path_grows_over_the_blocks() -> None:
    backbone = TruForNetwork(TINY, drop_path=0.4).backbone
    rates = [block.drop_path for i in range(4) for block in backbone.stage(i, "extra_").blocks]
    assert rates == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])


def test_rectification_is_the_mirror_of_itself_where_the_weights_are_equal() -> None:
    module = FeatureRectify(2)
    for parameter in module.parameters():
        torch.nn.init.zeros_(parameter)  # every weight of both kinds is then sigmoid(0)
    x, y = torch.rand(1, 3, 4, 2), torch.rand(1, 3, 4, 2)
    found_x, found_y = module(x, y)
    assert torch.allclose(found_x, x + 0.5 * y)
    assert torch.allclose(found_y, y + 0.5 * x)


def test_weighted_statistics_of_two_values() -> None:
    x = torch.tensor([[1.0, 3.0]])
    equal = weighted_statistics(x)[0]
    e = torch.e
    smallest = -torch.tensor((e**-1 + e**-3) / 2).log()
    largest = torch.tensor((e**1 + e**3) / 2).log()
    assert torch.allclose(
        equal, torch.stack([smallest, largest, torch.tensor(2.0), torch.tensor(5.0)])
    )
    first = weighted_statistics(x, torch.tensor([[50.0, -50.0]]))[0]
    assert torch.allclose(first, torch.tensor([1.0, 1.0, 1.0, 1.0]))


def test_the_anomaly_counts_where_the_confidence_is_high() -> None:
    logits = torch.zeros(1, 2, 1, 2)
    logits[0, 1, 0, 0] = 4.0  # forged on the left, undecided on the right
    sure_left, sure_right = torch.tensor([[[[9.0, -99.0]]]]), torch.tensor([[[[-99.0, 9.0]]]])
    assert statistics(logits, sure_left)[0, 6] == pytest.approx(4.0, abs=1e-3)
    assert statistics(logits, sure_right)[0, 6] == pytest.approx(0.0, abs=1e-3)
    assert statistics(logits, sure_left)[0, 2] == pytest.approx(-45.0, abs=1e-3)


def test_folded_noiseprint_has_one_pair_per_convolution() -> None:
    net = Noiseprint(depth=5, channels=4)
    assert [tuple(weight.shape) for weight, _ in folded(net)] == [
        (4, 3, 3, 3), (4, 4, 3, 3), (4, 4, 3, 3), (4, 4, 3, 3), (1, 4, 3, 3)
    ]  # fmt: skip
