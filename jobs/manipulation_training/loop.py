"""What every worker of a manipulation network's training runs: the plain loop, with checkpoints."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import ray
import ray.train.torch

from forensics import storage
from forensics.manipulation import weights
from forensics.manipulation.base import NetworkSettings
from forensics.manipulation.network import ResidualNetwork
from forensics.train.manipulation.choice import gather
from forensics.train.manipulation.training import (
    ManipulationTraining,
    TrainingSettings,
    probabilities,
)
from forensics.train.peers import Peers
from jobs.training.checkpoints import answer, run_epochs


def train_loop(config: dict[str, Any]) -> dict[str, Any] | None:
    """Train to the last epoch, from the checkpoint if there is one; then test.

    Args:
        config: ``training`` and ``testing``, references of `Patches`; ``labels`` of the
            classes; ``patches``, how many places to draw, or None; ``network`` and ``settings``
            as JSON; ``weights``, the URI that the network goes to.

    Returns:
        On the first worker: ``history`` (what the epochs reported), ``patches`` trained on, and of
        the patches tested on ``truth``, ``devices`` and class ``probabilities``; or ``error`` where
        patches or settings cannot be trained with: trying again is no use.
    """
    return answer(_trained, config)


def _trained(config: dict[str, Any], peers: Peers) -> dict[str, Any]:
    settings = TrainingSettings.model_validate_json(config["settings"])
    network = ResidualNetwork(NetworkSettings.model_validate_json(config["network"]))
    labels = config["labels"]
    patches = gather(ray.get(config["training"]), labels, config["patches"], settings.seed)
    training = ManipulationTraining(
        network.to(ray.train.torch.get_device()), patches, settings, peers
    )
    run_epochs(training, peers)
    training.finish()
    if peers.rank > 0:
        return {}
    storage.write(config["weights"], weights.to_bytes(network))
    test = gather(ray.get(config["testing"]), labels, None, 0)
    return {
        "history": [asdict(epoch) for epoch in training.history],
        "patches": len(patches),
        "truth": test.labels,
        "devices": test.devices,
        "probabilities": probabilities(network, test),
    }
