"""The loop learns, continues bit for bit, and weighs classes alike."""

from __future__ import annotations

import io
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from forensics.origin.network import OriginNetwork, probabilities
from forensics.origin.patches import ORIENTATIONS, orient
from forensics.records import UserError
from forensics.train.origin.images import OriginImage
from forensics.train.origin.training import OriginTraining, TrainingSettings
from tests.origin.networks import SIDE, TINY
from tests.train.origin.made import images

FEW = TrainingSettings(epochs=2, batch=16, lr=1e-3)


def training(settings: TrainingSettings = FEW, watched: Any = (), of: Any = None) -> OriginTraining:
    return OriginTraining(OriginNetwork(TINY, 0), of or images(4), watched, settings)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_it_learns_what_shows(precision: Any) -> None:
    settings = TrainingSettings(epochs=8, batch=16, lr=2e-3, precision=precision)
    learning = training(settings, watched=images(3, 50), of=images(8))
    course = list(learning.epochs())
    assert [epoch.number for epoch in course] == list(range(1, 9))
    assert all(p.dtype == torch.float32 for p in learning.network.parameters())
    assert course[-1].loss < 0.5 * course[0].loss
    assert course[-1].held_out_accuracy > 0.8
    network = learning.finish()
    assert not network.training
    right = [
        probabilities(network, torch.from_numpy(image.patches(SIDE))).argmax(1) == image.label
        for image in images(4, 100)
    ]
    assert torch.cat(right).double().mean() > 0.8


def test_a_continued_training_gives_the_same_bits() -> None:
    whole = training()
    for _ in whole.epochs():
        pass
    begun = training()
    next(begun.epochs())
    file = io.BytesIO()
    torch.save(begun.state_dict(), file)
    file.seek(0)
    continued = training()
    continued.load_state_dict(torch.load(file, weights_only=True))
    for _ in continued.epochs():
        pass
    assert str(continued.history) == str(whole.history)  # nan where nothing is watched
    for name, tensor in whole.network.state_dict().items():
        assert torch.equal(tensor, continued.network.state_dict()[name])


def test_an_epoch_sees_every_patch_in_so_many_orientations(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for count in (1, 2, ORIENTATIONS):
        learning = training(FEW.model_copy(update={"orientations": count, "epochs": 1}))
        seen: list[tuple[int, ...]] = []
        cut = learning._cut

        def note(chosen: Any, cut: Any = cut, seen: Any = seen) -> torch.Tensor:
            seen.extend(map(tuple, chosen.tolist()))
            return cut(chosen)

        monkeypatch.setattr(learning, "_cut", note)
        list(learning.epochs())
        places = [(k, n) for k, i in enumerate(learning.images) for n in range(len(i.corners))]
        assert len(set(seen)) == len(seen) == count * len(places)
        assert Counter(s[:2] for s in seen) == dict.fromkeys(places, count)
        assert seen != sorted(seen)


def test_the_patches_of_a_batch_are_turned() -> None:
    learning = training()
    image = learning.images[5]
    y, x = image.corners[2]
    patch = image.pixels[y : y + SIDE, x : x + SIDE]
    batch = learning._cut(np.array([[5, 2, k] for k in range(ORIENTATIONS)]))
    for k in range(ORIENTATIONS):
        assert np.array_equal(batch[k].numpy(), orient(patch, k))


def test_classes_weigh_alike_however_many_images_they_have() -> None:
    some = images(4)
    uneven = [*some, *[replace(some[0], image_id=f"more{k}") for k in range(8)]]
    learning = training(FEW.model_copy(update={"lr": 1e-9, "epochs": 1, "batch": 1000}), of=uneven)
    learning.network.hidden[3].p = 0.0
    [epoch] = learning.epochs()
    order = learning._order(np.random.default_rng([FEW.seed, 1]))
    pixels = learning._cut(order)
    labels = torch.tensor([uneven[k].label for k in order[:, 0]])
    fresh = OriginNetwork(TINY, 0).train()
    fresh.hidden[3].p = 0.0
    losses = cross_entropy(fresh(pixels), labels, reduction="none")
    expected = torch.stack([losses[labels == c].mean() for c in range(3)]).mean()
    assert epoch.loss == pytest.approx(expected.item(), rel=1e-4)


def test_only_watched_patches_are_watched_and_choose_nothing() -> None:
    settings = FEW.model_copy(update={"watched": 2})
    blind, watching = training(settings), training(settings, watched=images(2, 50))
    for one, other in zip(blind.epochs(), watching.epochs(), strict=True):
        assert one.loss == other.loss
        assert np.isnan(one.held_out_accuracy)
        assert 0 <= other.held_out_accuracy <= 1
    for name, tensor in blind.network.state_dict().items():
        assert torch.equal(tensor, watching.network.state_dict()[name])


def test_fixed_layers_stay() -> None:
    shape = TINY.model_copy(update={"scenario": "vgg"})
    network = OriginNetwork(shape, 0)
    before = {name: t.clone() for name, t in network.state_dict().items()}
    list(OriginTraining(network, images(2), (), FEW).epochs())
    for name, tensor in network.state_dict().items():
        fixed = name.startswith(("layers.0.", "layers.1."))
        assert torch.equal(tensor, before[name]) == fixed or "num_batches" in name, name


def test_what_cannot_be_learned_from_is_refused() -> None:
    some = images(2)
    with pytest.raises(UserError, match="no image to learn from of dgi"):
        training(of=[image for image in some if image.label < 2])
    wrong: OriginImage = replace(some[0], label=3)
    with pytest.raises(UserError, match="0-0: class 3 of 3"):
        training(of=[wrong])
    with pytest.raises(UserError, match="diverged in epoch 1"):
        list(training(FEW.model_copy(update={"lr": 1e30, "epochs": 3})).epochs())
