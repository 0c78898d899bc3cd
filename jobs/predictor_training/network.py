"""One network predictor of one camera: its blocks, its training, what became of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import ray
import torch

from forensics.evaluate.metrics import adjusted_r2
from forensics.prnu.block_sampling import image_gains
from forensics.prnu.camera_model import UsedImage, WindowModel
from forensics.prnu.hypothesis import fit_sigma0
from forensics.prnu.library import CameraLibrary
from forensics.prnu.predictors import PREDICTORS
from forensics.prnu.predictors.network import CNNSettings
from forensics.prnu.regression import image_gain
from forensics.records import UserError
from forensics.text import visible
from forensics.train.predictor.regression import TrainingSettings
from jobs.cameras import Skipped
from jobs.predictor_training.loop import train_loop
from jobs.predictor_training.plan import Training
from jobs.predictor_training.plots import Floats
from jobs.predictor_training.tasks import BlockSettings, Sampled, blocks_of
from jobs.training.course import Course
from jobs.training.follow import follow
from jobs.training.run import Workers
from jobs.waiting import wait_for

MIN_IMAGES = 2
"""One to learn from and one to see how well it went."""


@dataclass(frozen=True)
class NetworkOptions:
    """What all network trainings of a job have in common."""

    models: str
    blocks: BlockSettings
    network: CNNSettings
    training: TrainingSettings
    image_gain: bool
    workers: Workers
    retries: int
    folder: str  # URI, where checkpoints go


@dataclass(frozen=True)
class Trained:
    """A predictor with its spreads, and how it does on blocks that it was not trained on."""

    window: WindowModel
    images: tuple[UsedImage, ...]
    skipped: tuple[Skipped, ...]
    rho: Floats  # (n,)
    rho_hat: Floats  # (n,), as the detector would scale it


@dataclass(frozen=True)
class _Blocks:
    """Blocks of a training that can be used; photos may occur at several qualities."""

    references: list[Any]
    sampled: list[Sampled]
    skipped: tuple[Skipped, ...]

    @property
    def images(self) -> tuple[UsedImage, ...]:
        return tuple({sampled.image.sha256: sampled.image for sampled in self.sampled}.values())


def train_network(training: Training, options: NetworkOptions, course: Course) -> Trained:
    """Sample the blocks, train, and measure the spreads.

    Raises `NotTrained` where the photos do not suffice, and `RuntimeError` where a worker failed
    time and again.
    """
    blocks = _sample(training, options)
    if len(blocks.images) < MIN_IMAGES:
        raise NotTrained(
            f"{len(blocks.images)} photos can be used, at least {MIN_IMAGES} are needed to train a "
            f"network ({options.blocks.count} blocks of each; the paper takes 50 photos)",
            blocks.skipped,
        )
    gains = [1.0] * len(blocks.sampled)
    if options.image_gain:
        gains = image_gains([sampled.triangle for sampled in blocks.sampled])
    config = {
        "blocks": blocks.references,
        "gains": gains,
        "window": options.blocks.window,
        "network": options.network.model_dump_json(),
        "training": options.training.model_dump_json(),
    }
    outcome = follow(
        train_loop,
        config,
        course,
        folder=options.folder,
        workers=options.workers,
        retries=options.retries,
    )
    if "error" in outcome:
        raise NotTrained(outcome["error"], blocks.skipped)
    return _judged(training, options, blocks, outcome)


class NotTrained(UserError):
    """Why there is no predictor, with the photos that could not be used."""

    def __init__(self, reason: str, skipped: tuple[Skipped, ...]) -> None:
        super().__init__(reason)
        self.skipped = skipped


def _sample(training: Training, options: NetworkOptions) -> _Blocks:
    version = CameraLibrary(options.models).digest
    share = -(-options.blocks.count // len(training.qualities))
    settings = replace(options.blocks, count=share)
    made = [
        blocks_of.remote(options.models, version, row, settings, quality)
        for row in training.rows
        for quality in training.qualities
    ]
    summaries = [summary for _, summary in made]
    wait_for(summaries, "photos sampled")
    references, sampled = [], []
    skipped: dict[str, Skipped] = {}
    first: dict[str, str] = {}  # of each file, the id it came with first
    for (reference, _), summary in zip(made, ray.get(summaries), strict=True):
        if isinstance(summary, Sampled):
            image = summary.image
            if first.setdefault(image.sha256, image.image_id) == image.image_id:
                references.append(reference)
                sampled.append(summary)
                continue
            summary = Skipped(image.image_id, f"same file as {visible(first[image.sha256])}")
        skipped[summary.image_id] = summary
    return _Blocks(references, sampled, tuple(skipped.values()))


def _judged(
    training: Training, options: NetworkOptions, blocks: _Blocks, outcome: dict[str, Any]
) -> Trained:
    measured, predicted = [], []
    for rho, raw in outcome["validation"]:
        rho_hat = raw.clip(min=0)
        measured.append(rho)
        gain = image_gain(rho, rho_hat) if options.image_gain else 1.0
        predicted.append(rho_hat * np.float32(gain))
    rho, rho_hat = np.concatenate(measured), np.concatenate(predicted)
    state = {name: torch.from_numpy(np.array(value)) for name, value in outcome["state"].items()}
    window = WindowModel(
        window=options.blocks.window,
        predictor=PREDICTORS[training.predictor].from_state(state),
        sigma0=fit_sigma0(np.concatenate([sampled.rho_absent for sampled in blocks.sampled])),
        sigma1=float(np.sqrt(np.mean(np.square(rho - rho_hat, dtype=np.float64)))),
        adjusted_r2=adjusted_r2(rho, rho_hat, 1),
        blocks=sum(sampled.blocks for sampled in blocks.sampled),
        images=len(blocks.images),
        jpeg_quality=training.jpeg_quality,
        image_gain=options.image_gain,
    )
    return Trained(window, blocks.images, blocks.skipped, rho, rho_hat)
