"""Weights from every kind of file, and from none that could run code."""

from __future__ import annotations

import io
import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from forensics.records import UserError
from forensics.trufor import TruFor
from forensics.trufor.checkpoint import (
    inferred_settings,
    initialise_encoder,
    load_network,
    load_noiseprint,
    to_safetensors,
)
from forensics.trufor.encoder import B0, B1, EncoderSettings
from forensics.trufor.model import TruForNetwork, TruForSettings
from forensics.trufor.noiseprint import Noiseprint
from tests.trufor.networks import TINY, tiny_network

PRESET_HEADS = TINY.model_copy(
    update={"encoder": EncoderSettings(widths=(4, 8, 20, 32), depths=(1, 1, 2, 1))}
)
"""Tiny, with the numbers of heads that cannot be told from a file."""


def saved(content: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream)
    return stream.getvalue()


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    a, b = one.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("wrapped", [True, False])
def test_a_published_file_is_read_and_its_shape_found(wrapped: bool) -> None:
    network = tiny_network(settings=PRESET_HEADS)
    state = dict(network.state_dict())
    loaded = load_network(saved({"epoch": 3, "state_dict": state} if wrapped else state))
    assert loaded.settings == network.settings
    assert same(loaded, network)
    assert not loaded.training


@pytest.mark.parametrize("module", ["numpy._core.multiarray", "numpy.core.multiarray"])
def test_the_published_file_is_read_with_all_that_its_training_kept(module: str) -> None:
    """As ``train.py`` of the authors saves it; NumPy's module was called otherwise before 2.0."""
    network = tiny_network(settings=PRESET_HEADS)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.005, momentum=0.9)
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    content = {
        "epoch": 99,
        "best_value": np.float64(0.5),
        "best_key": "avg_mIoU",
        "state_dict": network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "more": [np.float32(1), np.int64(2), np.bool_(True), np.int32(3), None, 1.5],
    }
    data = saved(content)
    given = b"cnumpy._core.multiarray\nscalar\n"
    assert pickled(data).count(given) == 1
    data = with_pickle(data, pickled(data).replace(given, f"c{module}\nscalar\n".encode()))
    assert f"c{module}\n".encode() in pickled(data)
    with pytest.raises(pickle.UnpicklingError):  # by itself torch does not
        torch.load(io.BytesIO(data), weights_only=True)
    assert same(load_network(data), network)
    legacy = io.BytesIO()
    torch.save(content, legacy, _use_new_zipfile_serialization=False)
    assert same(load_network(legacy.getvalue()), network)


def pickled(data: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        [name] = (name for name in file.namelist() if name.endswith("data.pkl"))
        return file.read(name)


def with_pickle(data: bytes, content: bytes) -> bytes:
    """A file of torch with another ``data.pkl``."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(stream, "w") as new:
        for name in old.namelist():
            new.writestr(name, content if name.endswith("data.pkl") else old.read(name))
    return stream.getvalue()


def test_our_own_file_carries_its_settings() -> None:
    network = tiny_network()
    loaded = load_network(to_safetensors(network))
    assert loaded.settings == network.settings == TINY
    assert same(loaded, network)


@pytest.mark.parametrize("inputs", ["rgb", "noiseprint"])
def test_a_network_of_one_branch_is_kept_and_started_by_a_segformer_file(inputs: str) -> None:
    network = tiny_network(settings=TINY.model_copy(update={"inputs": inputs}))
    donor = tiny_network(seed=7).backbone.state_dict()
    file = {k: v for k, v in donor.items() if k.startswith(("patch_embed", "block", "norm"))}
    initialise_encoder(network, saved(file))
    for name, tensor in network.backbone.state_dict().items():
        assert torch.equal(tensor, file[name.removeprefix("extra_")])
    loaded = load_network(to_safetensors(network))
    assert loaded.settings.inputs == inputs
    assert same(loaded, network)


@pytest.mark.parametrize("encoder", [B0, B1])
def test_the_shapes_of_a_preset_give_its_settings(encoder: EncoderSettings) -> None:
    settings = TruForSettings(encoder=encoder, embedding=256)
    with torch.device("meta"):
        state = TruForNetwork(settings).state_dict()
    assert inferred_settings(state) == settings


def test_a_file_is_the_same_network_wherever_it_is_read_from(tmp_path: Path) -> None:
    data = to_safetensors(tiny_network())
    path = tmp_path / "weights.safetensors"
    path.write_bytes(data)
    pixels = torch.randint(0, 256, (40, 44, 3), dtype=torch.uint8)
    one, other = TruFor.from_checkpoint(str(path)), TruFor.from_bytes(data)
    assert one.digest == other.digest
    assert torch.equal(one.predict(pixels).map, other.predict(pixels).map)


def test_noiseprint_alone() -> None:
    net = Noiseprint(depth=6, channels=5)
    loaded = load_noiseprint(saved({"network": net.state_dict()}))
    assert same(loaded, net)
    assert len(loaded) == len(net)


def test_a_segformer_file_starts_both_branches_and_nothing_else() -> None:
    network = tiny_network()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    donor = tiny_network(seed=7).backbone.state_dict()
    file = {k: v for k, v in donor.items() if k.startswith(("patch_embed", "block", "norm"))}
    classifier = {"head.weight": torch.zeros(9, 16), "head.bias": torch.zeros(9)}
    initialise_encoder(network, saved(file | classifier))
    for name, tensor in network.state_dict().items():
        source = name.removeprefix("backbone.").removeprefix("extra_")
        expected = file[source] if name.startswith("backbone.") and source in file else before[name]
        assert torch.equal(tensor, expected), name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("backbone.norm3.bias"), r"missing backbone\.norm3\.bias"),
        (lambda s: s.update({"module.x": torch.zeros(1)}), r"not expected module\.x"),
        (
            lambda s: s.update({"backbone.norm3.bias": torch.zeros(3)}),
            r"shapes backbone\.norm3\.bias \(3,\) instead of \(20,\)",
        ),
        (lambda s: s.clear(), "no tensor 'backbone.patch_embed1.proj.weight'"),
        (
            lambda s: [s.pop(name) for name in list(s) if "FFMs" in name],
            r"missing backbone\.FFMs\.0.* and \d+ more",
        ),
    ],
)
def test_another_set_of_tensors_is_refused_by_name(change: Any, message: str) -> None:
    state = dict(tiny_network(settings=PRESET_HEADS).state_dict())
    change(state)
    with pytest.raises(UserError, match=message) as error:
        load_network(saved({"state_dict": state}), "a.pth.tar")
    assert "a.pth.tar" in str(error.value)


class Evil:
    """Unpickling this would leave a mark."""

    marks: list[str] = []  # noqa: RUF012

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return Evil.marks.append, ("ran",)


class NumPyEvil:
    """The same, by way of the NumPy names that are let through."""

    def __reduce__(self) -> tuple[Any, ...]:
        return np._core.multiarray.scalar, (np.dtype("O"), Evil())


@pytest.mark.parametrize(
    "data",
    [
        saved({"state_dict": {"x": Evil()}}),
        saved({"state_dict": {"x": torch.zeros(1)}, "best_value": NumPyEvil()}),
        saved({"state_dict": {"x": torch.zeros(1)}, "best_value": np.zeros(3)}),
        saved({"state_dict": {"x": np.float64(1)}}),
        with_pickle(saved({}), b"\x80\x02cnumpy\ndtype\n)R."[:-3]),
        with_pickle(saved({}), b"\x80\x02cos\nsystem\n(X\x04\x00\x00\x00truetR."),
        pickle.dumps(Evil()),
        b"",
        b"no file of weights at all",
        saved({"state_dict": [1, 2]}),
        saved([torch.zeros(1)]),
        to_safetensors(tiny_network())[:-100],
        (5).to_bytes(8, "little") + b"{}...",
    ],
    ids=[
        *("pickle", "numpy pickle", "numpy array", "numpy state", "broken pickle", "system"),
        *("bare pickle", "empty", "text", "no dict", "list", "cut", "header"),
    ],
)
def test_what_is_no_file_of_tensors_is_refused_and_not_run(data: bytes) -> None:
    with pytest.raises(UserError, match=r"^some\.file: ") as error:
        load_network(data, "some.file")
    assert Evil.marks == []
    # torch's own advice is to open the file all the same, in bold letters
    assert not re.search(r"weights_only|safe_globals|\x1b|\n", str(error.value))


@pytest.mark.parametrize(
    ("content", "name"),
    [
        ({"state_dict": {}, "args": Path("x")}, r"pathlib\.\w*Path"),
        ({"state_dict": {}, "x": np.zeros(3)}, r"numpy\._core\.multiarray\._reconstruct"),
    ],
)
def test_what_a_file_holds_beside_tensors_is_named(content: Any, name: str) -> None:
    with pytest.raises(UserError, match=f"^a.pth: it holds a {name}, and files with anything but"):
        load_network(saved(content), "a.pth")


def test_settings_in_a_file_are_checked() -> None:
    state = tiny_network().state_dict()
    data = safetensors.torch.save(dict(state), {"trufor_settings": '{"depth": 3}'})
    with pytest.raises(UserError, match="its settings cannot be read"):
        load_network(data)


def test_a_width_without_fitting_heads_says_so() -> None:
    state = dict(tiny_network().state_dict())  # 16 channels, 5 heads
    with pytest.raises(UserError, match="no TruFor network has these shapes"):
        load_network(saved(state))
