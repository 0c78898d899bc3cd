"""Processes that share a training: their parts make up the whole, and so do their gradients."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch

from forensics.prnu.blocks import ImageBlocks
from forensics.prnu.predictors.network import CNNSettings, CorrelationNetwork
from forensics.train.peers import ALONE, Peers
from forensics.train.predictor.regression import Regression, TrainingSettings
from forensics.train.predictor.samples import Samples
from tests.patience import PATIENCE_SECONDS

WINDOW = 36


@dataclass
class Room:
    """Where threads that stand for processes meet."""

    count: int
    barrier: threading.Barrier = field(init=False)
    brought: dict[int, list[torch.Tensor]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.barrier = threading.Barrier(self.count, timeout=PATIENCE_SECONDS)


@dataclass(frozen=True)
class Threads(Peers):
    room: Room | None = None

    def sum_(self, tensors: Iterable[torch.Tensor]) -> None:
        assert self.room is not None
        own = list(tensors)
        self.room.brought[self.rank] = [tensor.clone() for tensor in own]
        self.room.barrier.wait()
        sums = [sum(each[1:], each[0]) for each in zip(*self.room.brought.values(), strict=True)]
        self.room.barrier.wait()
        for tensor, total in zip(own, sums, strict=True):
            tensor.copy_(total)


def photo(number: int, count: int = 5) -> ImageBlocks:
    random = np.random.default_rng(number)
    return ImageBlocks(
        image_id=f"p{number}",
        window=WINDOW,
        pixels=random.integers(0, 256, (60, 60, 3), dtype=np.uint8),
        positions=random.integers(0, 60 - WINDOW, (count, 2)),
        rho=random.normal(0.05, 0.02, count).astype(np.float32),
        saturation=np.zeros(count, np.float32),
    )


def trained(peers: Peers) -> Regression:
    """Of 21 blocks in batches of 6: the last batch has 3."""
    settings = TrainingSettings(epochs=2, batch=6, lr=1e-2, validation=0.3, seed=3)
    shape = CNNSettings(widths=(2, 2, 2, 2, 2, 2), kernel=3, hidden=4)
    network = CorrelationNetwork(shape, WINDOW)
    images = [photo(n, 7) for n in range(4)]
    regression = Regression(network, images, settings, peers)
    assert len(list(regression.epochs())) == 2
    return regression


@pytest.mark.parametrize("count", [2, 4])  # the last batch has nothing for the fourth
def test_several_learn_what_one_learns(count: int) -> None:
    torch.manual_seed(0)
    alone = trained(ALONE)
    room = Room(count)
    found: dict[int, Regression] = {}

    def work(rank: int) -> None:
        found[rank] = trained(Threads(rank, count, room))

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=PATIENCE_SECONDS)
    assert sorted(found) == list(range(count))
    expected = alone.network.state_dict()
    for regression in found.values():
        for name, weights in regression.network.state_dict().items():
            torch.testing.assert_close(weights, expected[name], rtol=1e-4, atol=1e-6)
        for one, other in zip(regression.history, alone.history, strict=True):
            assert one.train_mse == pytest.approx(other.train_mse, rel=1e-4)
            assert one.validation_mse == pytest.approx(other.validation_mse, rel=1e-4)


def test_parts_of_a_batch_make_up_the_batch() -> None:
    samples = Samples([photo(n) for n in range(4)], WINDOW, False, 0.3, seed=0)
    whole = list(samples.training(1, 4))
    parts = [list(samples.training(1, 4, Peers(rank, 3))) for rank in range(3)]
    assert len(whole) == len(parts[0]) == len(parts[1]) == len(parts[2])
    for batch, *shares in zip(whole, *parts, strict=True):
        rho = torch.cat([share.rho for share in shares]).flatten()
        assert sorted(rho.tolist()) == sorted(batch.rho.flatten().tolist())
        assert sum(len(share.pixels) for share in shares) == len(batch.pixels)


def test_one_photo_at_several_qualities_is_on_one_side_of_the_split() -> None:
    images = [replace(photo(n), image_id=f"p{n // 3}") for n in range(12)]
    for seed in range(8):
        samples = Samples(images, WINDOW, True, 0.25, seed)
        held_out = [image for image, _ in samples.held_out_blocks()]
        assert len(held_out) == 3
        assert {image.image_id for image in held_out} == samples.held_out_images
        assert len(samples.held_out_images) == 1


def test_held_out_blocks_are_those_not_trained_on() -> None:
    images = [photo(n) for n in range(4)]
    samples = Samples(images, WINDOW, False, 0.3, seed=0)
    held_out = [r for image, blocks in samples.held_out_blocks() for r in image.rho[blocks]]
    seen = [r for batch in samples.training(1, 8) for r in batch.rho.flatten().tolist()]
    assert len(held_out) == 6
    everything = [r for image in images for r in image.rho.tolist()]
    assert sorted([*seen, *(float(r) for r in held_out)]) == sorted(everything)


def test_without_a_process_group_a_process_is_alone() -> None:
    assert Peers.of_process_group() == ALONE
    tensor = torch.ones(3)
    ALONE.sum_([tensor])
    assert tensor.tolist() == [1, 1, 1]
