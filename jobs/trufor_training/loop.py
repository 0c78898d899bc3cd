"""What every worker of TruFor's training runs: the plain loop, with checkpoints and reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import ray
import ray.train.torch

from forensics import storage
from forensics.records import UserError
from forensics.train.peers import Peers
from forensics.train.trufor.contrastive import NoiseprintPhase
from forensics.train.trufor.examples import example_of
from forensics.train.trufor.loop import Epoch, PhaseTraining
from forensics.train.trufor.phase import Phase
from forensics.train.trufor.settings import ContrastiveSettings, SupervisedSettings
from forensics.train.trufor.supervised import LocalizationPhase, ReliabilityPhase
from forensics.trufor.checkpoint import load_network, load_noiseprint, to_safetensors
from forensics.trufor.model import TruForNetwork
from jobs.training.checkpoints import run_epochs
from jobs.trufor_training.start import noiseprint_to_bytes


def train_loop(config: dict[str, Any]) -> dict[str, Any] | None:
    """Train to the last epoch, from the checkpoint if there is one.

    Args:
        config: ``phase`` 1 to 3; ``start``, a reference of the weights to begin with; ``items``,
            references of `PhotoCrops` or rows of a manifest; ``max_megapixels``; ``settings`` as
            JSON; ``weights``, the URI that the best epoch's weights go to; ``samples``, how many
            pictures to return.

    Returns:
        On the first worker: ``history`` (what the epochs reported), ``best`` (its number),
        ``samples`` (title and planes of images not trained on); or ``error`` where the images or
        settings cannot be trained with: trying again is no use.
    """
    peers = Peers.of_process_group()
    try:
        phase = _phase(config)
    except UserError as error:  # the same in all workers
        return {"error": str(error)} if peers.rank == 0 else None
    training = PhaseTraining(phase, peers)
    try:
        run_epochs(training, peers, numbers)
    except UserError as error:
        if peers.count > 1:  # the others wait for this one
            raise
        return {"error": str(error)}
    network = training.finish()
    if peers.rank > 0:
        return None
    if isinstance(network, TruForNetwork):
        weights = to_safetensors(network)
    else:
        weights = noiseprint_to_bytes(network)
    storage.write(config["weights"], weights)
    assert training.best is not None  # there was an epoch
    return {
        "history": [numbers(epoch) for epoch in training.history],
        "best": training.best.number,
        "samples": [(sample.title, sample.planes) for sample in phase.samples(config["samples"])],
    }


def numbers(epoch: Epoch) -> dict[str, float]:
    """What an epoch reports; measures of validation as ``validation.auc``."""
    flat = asdict(epoch)
    validation: Mapping[str, float] = flat.pop("validation")
    return {**flat, **{f"validation.{name}": value for name, value in validation.items()}}


def _phase(config: dict[str, Any]) -> Phase[Any]:
    device, weights = ray.train.torch.get_device(), ray.get(config["start"])
    if config["phase"] == 1:
        contrastive = ContrastiveSettings.model_validate_json(config["settings"])
        photos = ray.get(config["items"])
        return NoiseprintPhase(load_noiseprint(weights).to(device), photos, contrastive)
    settings = SupervisedSettings.model_validate_json(config["settings"])
    examples = [example_of(row, config["max_megapixels"]) for row in config["items"]]
    kind = LocalizationPhase if config["phase"] == 2 else ReliabilityPhase
    return kind(load_network(weights).to(device), examples, settings)
