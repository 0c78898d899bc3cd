"""What every worker of a network's training runs: the plain loop, with checkpoints and reports."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import numpy as np
import ray
import ray.train
import ray.train.torch
import torch
from numpy.typing import NDArray

from forensics.prnu.blocks import ImageBlocks
from forensics.prnu.predictors.cnn import CNNPredictor
from forensics.prnu.predictors.network import CNNSettings, CorrelationNetwork
from forensics.train.peers import Peers
from forensics.train.predictor.regression import Regression, TrainingSettings
from jobs.training.checkpoints import answer, run_epochs

_BATCH = 256  # blocks predicted at once


def train_loop(config: dict[str, Any]) -> dict[str, Any] | None:
    """Train to the last epoch, from the checkpoint if there is one.

    Args:
        config: ``blocks``, references of `ImageBlocks`; ``gains``, one each; ``window``;
            ``network`` and ``training``, settings as JSON.

    Returns:
        On the first worker: ``state`` of the predictor, ``history`` (what the epochs reported) and
        ``validation``, per photo measured and predicted correlations of blocks not trained on;
        or ``error`` where the photos or settings cannot be trained with: trying again is no use.
    """
    return answer(_trained, config)


def _trained(config: dict[str, Any], peers: Peers) -> dict[str, Any]:
    images = [
        replace(blocks, gain=gain)
        for blocks, gain in zip(ray.get(config["blocks"]), config["gains"], strict=True)
    ]
    settings = TrainingSettings.model_validate_json(config["training"])
    shape = CNNSettings.model_validate_json(config["network"])
    network = CorrelationNetwork(shape, config["window"], settings.seed)
    device = ray.train.torch.get_device()
    network.to(device)
    regression = Regression(network, images, settings, peers)
    run_epochs(regression, peers)
    predictor = CNNPredictor(shape, settings).take(regression.finish())
    if peers.rank > 0:
        return {}
    return {
        # Ray returns no tensors
        "state": {name: tensor.numpy() for name, tensor in predictor.state().items()},
        "history": [asdict(epoch) for epoch in regression.history],
        "validation": [
            (image.rho[chosen], _predictions(predictor, image, chosen, device))
            for image, chosen in regression.samples.held_out_blocks()
        ],
    }


def _predictions(
    predictor: CNNPredictor, image: ImageBlocks, chosen: NDArray[np.int64], device: torch.device
) -> NDArray[np.float32]:
    """float32 (n,) predictions, at a gain of 1, for some blocks of a photo."""
    side = image.window
    found = [np.empty(0, np.float32)]
    for start in range(0, len(chosen), _BATCH):
        corners = image.positions[chosen[start : start + _BATCH]].tolist()
        blocks = np.stack([image.pixels[y : y + side, x : x + side] for y, x in corners])
        found.append(predictor.predict(torch.from_numpy(blocks).to(device)).cpu().numpy())
    return np.concatenate(found)
