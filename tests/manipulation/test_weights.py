"""Stored networks: whole, told by their digest, and nothing else is taken for one."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from forensics.manipulation import weights
from forensics.manipulation.base import NetworkSettings
from forensics.manipulation.network import ResidualNetwork
from forensics.manipulation.operations import CLASSES
from forensics.records import UserError
from forensics.storage import NotFound
from tests.conftest import ROOT
from tests.manipulation.test_network import SMALL, random_network


def test_a_network_comes_back_as_it_was(tmp_path: Path) -> None:
    network = random_network()
    data = weights.to_bytes(network)
    file = tmp_path / "network.safetensors"
    file.write_bytes(data)
    trained = weights.load(str(file))
    assert trained.digest == hashlib.sha256(data).hexdigest()
    assert trained.network.settings == SMALL
    assert not trained.network.training
    for name, value in network.state_dict().items():
        assert torch.equal(trained.network.state_dict()[name], value)
    assert weights.to_bytes(trained.network) == data


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no safetensors at all",
        save({"weight": torch.zeros(3)}),
        save({"weight": torch.zeros(3)}, {"settings": "{}"}),
        save({"weight": torch.zeros(3)}, {"settings": "[]"}),
        save(ResidualNetwork(SMALL).state_dict(), {"settings": '{"classes": ["a", "b"]}'}),
        weights.to_bytes(ResidualNetwork(SMALL))[:-4],
    ],
)
def test_other_files_are_refused_by_name(data: bytes) -> None:
    with pytest.raises(UserError, match="holds no trained manipulation network"):
        weights.from_bytes(data, "here.bin")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        weights.load(str(tmp_path / "none.safetensors"))


def test_the_network_of_the_project_is_of_the_recipe_that_was_measured() -> None:
    """By its digest, which its card names too."""
    digest = weights.load().digest
    measured = json.loads((ROOT / "benchmarks/results/manipulation_shipped.json").read_text())
    made = {recipe["sha256_of_all_photos"] for recipe in measured["recipes"].values()}
    assert digest in made
    assert digest in (ROOT / "docs/cards/manipulation.md").read_text()


def test_the_network_of_the_project_tells_all_classes_apart() -> None:
    trained = weights.load()
    assert trained.network.settings == NetworkSettings()
    assert trained.network.settings.classes == CLASSES
    weight, _ = trained.network.linear()
    assert (weight.abs().sum(1) > 0).all()
