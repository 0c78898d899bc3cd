"""The fast network against the published numbers, the plain network and the reference."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.trufor_reference import trufor
from forensics.trufor import TruFor
from forensics.trufor.encoder import EncoderSettings
from forensics.trufor.inference import Engine, strips
from forensics.trufor.model import MEAN, STD, Output, TruForNetwork
from tests.trufor.networks import TINY, made_up, tiny_network

TOLERANCE = 1e-3
SIZES = [(29, 29), (29, 83), (64, 64), (97, 61), (133, 200), (330, 30)]


def full_network(weights: dict[str, torch.Tensor]) -> TruForNetwork:
    """The published size; made on the meta device, as drawing weights takes seconds."""
    with torch.device("meta"):
        network = TruForNetwork()
    network.load_state_dict(weights, assign=True)
    network.mean, network.std = torch.tensor(MEAN), torch.tensor(STD)
    return network.eval()


def image(height: int, width: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(height * 10_000 + width)
    noise = torch.randint(0, 100, (height, width, 3), generator=generator)
    ramp = torch.linspace(0, 155, width)[:, None].to(torch.int64)
    return (noise + ramp).to(torch.uint8)


def close(a: Output | tuple[torch.Tensor, ...], b: Output, tolerance: float) -> None:
    for name, one, other in zip(Output._fields, a, b, strict=True):
        assert one.shape == other.shape, name
        assert float((one - other).abs().max()) <= tolerance, name


@torch.no_grad()
def plain(network: TruForNetwork, pixels: torch.Tensor) -> Output:
    out: Output = network(pixels.permute(2, 0, 1)[None] / 256.0)
    return out


@pytest.mark.parametrize("name", ["a", "b"])
def test_every_array_of_the_published_code_is_met(shared: Path, name: str) -> None:
    """By the plain network, the fast one, and the reference of tests and benchmark."""
    folder = shared / "interop" / "trufor"
    with np.load(folder / f"trufor_public_{name}.npz") as stored:
        arrays = dict(stored)
    keys = json.loads((folder / "state_dict_keys.json").read_text())
    weights = made_up([(key, shape) for key, shape, _ in keys], int(arrays["seed"]))
    network = full_network(weights)
    pixels = torch.from_numpy(arrays["image"])
    for out, tolerance in (
        (plain(network, pixels), TOLERANCE),
        (Engine(network)(pixels), TOLERANCE),
        (trufor(weights, pixels), 1e-4),
    ):
        logits, confidence, score, noiseprint = out
        assert np.abs(logits[0].numpy() - arrays["logits"]).max() < tolerance
        assert np.abs(confidence[0, 0].numpy() - arrays["conf_logits"]).max() < tolerance
        assert np.abs(noiseprint[0, 0].numpy() - arrays["npp"]).max() < tolerance
        assert np.abs(score[0].numpy() - arrays["score_logit"]).max() < tolerance
    found = TruFor(network).predict(arrays["image"])
    assert np.abs(found.map - arrays["map"]).max() < TOLERANCE
    assert np.abs(found.confidence - arrays["conf"]).max() < TOLERANCE
    assert np.abs(found.noiseprint - arrays["npp"]).max() < TOLERANCE
    assert found.score == pytest.approx(float(arrays["score"][0]), abs=TOLERANCE)


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[1]}x{size[0]}")
@pytest.mark.parametrize("strip_bytes", [1, 20_000, 2**24])
def test_strips_of_any_height_give_the_plain_network(
    monkeypatch: pytest.MonkeyPatch, size: tuple[int, int], strip_bytes: int
) -> None:
    """One byte means one row at a time: every seam there can be."""
    monkeypatch.setitem(strips._STRIP_BYTES, "cpu", strip_bytes)
    network, pixels = tiny_network(), image(*size)
    found = Engine(network)(pixels)
    close(found, plain(network, pixels), 5e-4)
    close(trufor(network.state_dict(), pixels, TINY.encoder.heads), found, 5e-4)


@pytest.mark.parametrize("inputs", ["rgb", "noiseprint"])
def test_one_branch_alone_gives_the_plain_network(
    monkeypatch: pytest.MonkeyPatch, inputs: str
) -> None:
    monkeypatch.setitem(strips._STRIP_BYTES, "cpu", 20_000)
    settings = TINY.model_copy(update={"inputs": inputs})
    network, pixels = tiny_network(settings=settings), image(61, 74)
    close(Engine(network)(pixels), plain(network, pixels), 5e-4)


def test_an_image_is_left_as_it_is_and_judged_alike_again() -> None:
    engine, pixels = Engine(tiny_network()), image(60, 70)
    before = pixels.clone()
    first = engine(pixels)
    engine(image(61, 47))
    second = engine(pixels)
    assert torch.equal(pixels, before)
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(("precision", "mean"), [("bfloat16", 0.02), ("float16", 0.003)])
def test_half_precision_is_near(precision: str, mean: float) -> None:
    wide = EncoderSettings(widths=(32, 32, 32, 64), depths=(1, 1, 1, 1), heads=(1, 2, 2, 4))
    network = tiny_network(settings=TINY.model_copy(update={"encoder": wide}))
    pixels = image(96, 128).numpy()
    exact = TruFor(network).predict(pixels)
    half = TruFor(network, precision=precision).predict(pixels)  # type: ignore[arg-type]
    assert half.map.dtype == np.float32
    assert 0 < np.abs(half.map - exact.map).mean() < mean
    assert np.abs(half.noiseprint - exact.noiseprint).mean() < mean


def test_the_smallest_image_that_has_keys_is_the_smallest_allowed() -> None:
    network = tiny_network()
    found = TruFor(network)
    assert found.min_side == 29
    found.predict(np.zeros((29, 40, 3), np.uint8))
    with pytest.raises(ValueError, match="needs 29 a side"):
        found.predict(np.zeros((28, 40, 3), np.uint8))
    with pytest.raises(RuntimeError, match="Kernel size"):
        plain(network, torch.zeros(28, 40, 3, dtype=torch.uint8))


@pytest.mark.parametrize(
    "wrong", [np.zeros((40, 40), np.uint8), np.zeros((40, 40, 3)), np.zeros((40, 40, 4), np.uint8)]
)
def test_what_is_no_rgb_image_is_refused(wrong: np.ndarray) -> None:  # type: ignore[type-arg]
    with pytest.raises(ValueError, match="uint8"):
        TruFor(tiny_network()).predict(wrong)


def test_arrays_give_arrays_and_tensors_tensors() -> None:
    found, pixels = TruFor(tiny_network()), image(40, 50)
    arrays, tensors = found.predict(pixels.numpy()), found.predict(pixels)
    for name in ("map", "confidence", "noiseprint"):
        array, tensor = getattr(arrays, name), getattr(tensors, name)
        assert isinstance(array, np.ndarray)
        assert isinstance(tensor, torch.Tensor)
        assert array.dtype == np.float32
        assert array.shape == (40, 50)
        assert np.array_equal(array, tensor.numpy())
    assert arrays.score == tensors.score
    assert 0 <= arrays.score <= 1
