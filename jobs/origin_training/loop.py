"""What every worker of an origin network's training runs: the plain loop, with checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import ray
import ray.train.torch

from forensics import storage
from forensics.origin import weights
from forensics.origin.judge import predictor
from forensics.origin.network import NetworkSettings, OriginNetwork
from forensics.train.origin.images import OriginImage
from forensics.train.origin.training import OriginTraining, TrainingSettings
from forensics.train.peers import Peers
from jobs.training.checkpoints import answer, run_epochs


def train_loop(config: dict[str, Any]) -> dict[str, Any] | None:
    """Train to the last epoch, from the checkpoint if there is one; then test.

    Args:
        config: ``training`` and ``testing``, references of `OriginImage`; ``as_found``, those of
            the test images without levelling; ``network`` and ``settings`` as JSON; ``vgg``, a
            reference of the bytes of VGG-19's file, and its ``vgg_uri``, or None; ``weights``, the
            URI that the network goes to.

    Returns:
        On the first worker: ``history`` (what the epochs reported), ``patches`` trained on,
        ``filters`` of the first layer, and for ``tested`` and ``as_found`` per image its ``label``
        and the ``probabilities`` of its patches; or ``error`` where images or settings cannot be
        trained with: trying again is no use.
    """
    return answer(_trained, config)


def _trained(config: dict[str, Any], peers: Peers) -> dict[str, Any]:
    settings = TrainingSettings.model_validate_json(config["settings"])
    shape = NetworkSettings.model_validate_json(config["network"])
    network = OriginNetwork(shape, settings.seed)
    if config["vgg"] is not None:
        weights.fix_first_layers(network, ray.get(config["vgg"]), config["vgg_uri"])
    images, tested = ray.get(config["training"]), ray.get(config["testing"])
    network.to(ray.train.torch.get_device())
    training = OriginTraining(network, images, tested, settings, peers)
    run_epochs(training, peers)
    training.finish()
    if peers.rank > 0:
        return {}
    storage.write(config["weights"], weights.to_bytes(network))
    return {
        "history": [asdict(epoch) for epoch in training.history],
        "patches": sum(len(image.corners) for image in images),
        "filters": network.first.cpu().numpy(),
        "tested": _tested(network, tested),
        "as_found": _tested(network, ray.get(config["as_found"])),
    }


def _tested(network: OriginNetwork, images: Sequence[OriginImage]) -> list[dict[str, Any]]:
    predict, side = predictor(network), network.settings.side
    return [
        {
            "image_id": image.image_id,
            "label": image.label,
            "probabilities": predict(image.patches(side)),
        }
        for image in images
    ]
