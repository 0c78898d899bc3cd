"""Starting weights: from which files they come, whose shape counts, what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from forensics.records import UserError
from forensics.trufor.checkpoint import load_network, load_noiseprint, to_safetensors
from forensics.trufor.encoder import BRANCHES
from forensics.trufor.noiseprint import Noiseprint
from jobs.trufor_training.start import StartSettings, noiseprint_to_bytes, starting_weights
from tests.train.trufor.made import TINY, network


def test_phase_1_starts_at_random_or_from_a_noiseprint(tmp_path: Path) -> None:
    one, again, other = (starting_weights(1, StartSettings(), TINY, seed) for seed in (3, 3, 4))
    assert one == again != other
    assert len(load_noiseprint(one)) == len(Noiseprint(3, 8))
    (tmp_path / "np").write_bytes(other)
    start = StartSettings(checkpoint=str(tmp_path / "np"))
    assert starting_weights(1, start, TINY, 3) == other


def test_phase_2_builds_on_a_noiseprint_of_any_shape(tmp_path: Path) -> None:
    noiseprint = Noiseprint(5, 6)
    (tmp_path / "np").write_bytes(noiseprint_to_bytes(noiseprint))
    start = StartSettings(noiseprint=str(tmp_path / "np"))
    made = load_network(starting_weights(2, start, TINY, 0))
    assert made.settings.noiseprint_depth == 5
    assert made.settings.encoder == TINY.encoder
    for name, tensor in noiseprint.state_dict().items():
        assert made.dncnn.state_dict()[name].equal(tensor)

    (tmp_path / "whole").write_bytes(to_safetensors(network(7)))
    whole = StartSettings(checkpoint=str(tmp_path / "whole"))
    loaded = load_network(starting_weights(2, whole, TINY, 0))
    assert loaded.backbone.patch_embed1.proj.weight.equal(
        network(7).backbone.patch_embed1.proj.weight
    )
    both = StartSettings(checkpoint=str(tmp_path / "whole"), noiseprint=str(tmp_path / "np"))
    with pytest.raises(UserError, match=r"another shape than that of start\.checkpoint"):
        starting_weights(2, both, TINY, 0)


def test_segformer_s_weights_go_into_both_branches(tmp_path: Path) -> None:
    own = network(0).backbone.state_dict()
    published = {
        name: torch.full_like(tensor, 0.25)
        for name, tensor in own.items()
        if name.startswith(("patch_embed", "block", "norm"))
    }
    torch.save(published, tmp_path / "mit.pth")
    (tmp_path / "np").write_bytes(noiseprint_to_bytes(Noiseprint(3, 8)))
    start = StartSettings(noiseprint=str(tmp_path / "np"), segformer=str(tmp_path / "mit.pth"))
    state = load_network(starting_weights(2, start, TINY, 0)).backbone.state_dict()
    for branch in BRANCHES:
        assert (state[f"{branch}patch_embed1.proj.weight"] == 0.25).all()


def test_missing_weights_are_asked_for() -> None:
    with pytest.raises(UserError, match=r"give start.noiseprint \(the output of phase 1"):
        starting_weights(2, StartSettings(), TINY, 0)
    with pytest.raises(UserError, match=r"give start\.checkpoint, the output of phase 2"):
        starting_weights(3, StartSettings(), TINY, 0)
