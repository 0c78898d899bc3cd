"""A study of manipulations (table II of the residual-CNN paper): its settings, and one cell of it.

A cell is a task (pristine or one manipulation), a method, a size of the training set and a seed,
which draws the devices to test on, the patches to learn from and their order.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field, field_validator

from forensics.config import Settings
from forensics.evaluate.curves import auc
from forensics.manipulation.base import NetworkSettings, PatchNetwork
from forensics.manipulation.bayar import BayarNetwork
from forensics.manipulation.descriptor import srm_histogram
from forensics.manipulation.network import ResidualNetwork
from forensics.manipulation.operations import CLASSES, PRISTINE, Manipulation, parse
from forensics.manipulation.svm import ResidualSVM
from forensics.records import Status, UserError, explain
from forensics.train.manipulation.choice import few, gather
from forensics.train.manipulation.patches import Patches
from forensics.train.manipulation.training import (
    ManipulationTraining,
    TrainingSettings,
    probabilities,
)

Method = Literal["bayar", "svm", "start", "residual"]
"""``start``: the residual CNN as its training starts, with its linear layer fitted and no epoch."""

Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0)]

RECORDS = pa.schema(
    [
        ("task", pa.string()),
        ("method", pa.string()),
        ("patches_per_photo", pa.int64()),
        ("seed", pa.int64()),
        ("status", pa.string()),
        ("reason", pa.string()),
        ("tested_on", pa.list_(pa.string())),
        ("training_patches", pa.int64()),
        ("test_patches", pa.int64()),
        ("accuracy", pa.float64()),
        ("recall_pristine", pa.float64()),
        ("recall_manipulated", pa.float64()),
        ("auc", pa.float64()),  # within a device, mean over those tested on
        ("seconds", pa.float64()),  # of training
    ]
)


class ManipulationStudy(Settings):
    """How well patches of unseen devices are told from manipulated ones."""

    tasks: tuple[str, ...] = Field(
        CLASSES[1:], min_length=1, description="manipulations, each against pristine"
    )
    methods: tuple[Method, ...] = Field(
        ("bayar", "svm", "start", "residual"), min_length=1, description="methods to compare"
    )
    patches_per_photo: tuple[Count, ...] = Field(
        (9, 192), min_length=1, description="sizes of the training set: places in each photo"
    )
    test_patches_per_photo: Count = Field(9, description="places to test on in each photo")
    seeds: tuple[Seed, ...] = Field(
        (0, 1, 2), min_length=1, description="draws of devices to test on, patches and their order"
    )
    held_out: float = Field(1 / 3, gt=0, lt=1, description="part of the devices to test on")
    window: int = Field(128, ge=7, description="side of a patch, pixels")
    residual: TrainingSettings = TrainingSettings()
    bayar: TrainingSettings = Field(
        TrainingSettings(epochs=60, lr=1e-4, head_lr=1e-4),
        description="the paper gives the epochs, not the learning rate, which is our choice",
    )
    max_megapixels: float = Field(200.0, gt=0, description="pixels per image, before decoding")

    @field_validator("tasks")
    @classmethod
    def _labels(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(parse(value).label for value in values))

    @property
    def manipulations(self) -> tuple[Manipulation, ...]:
        """Those of the tasks, in their order."""
        return tuple(parse(task) for task in self.tasks)

    def cells(self) -> Iterator[Cell]:
        """All combinations, each once; a seed is through before the next."""
        axes = product(self.seeds, self.patches_per_photo, self.tasks, self.methods)
        yield from dict.fromkeys(Cell(t, method, count, seed) for seed, count, t, method in axes)


@dataclass(frozen=True, slots=True)
class Cell:
    """One number of the table, for one seed."""

    task: str
    method: Method
    patches_per_photo: int
    seed: int

    @property
    def name(self) -> str:
        """Such as ``blur-0.5_svm_9_seed0``."""
        return f"{self.task}_{self.method}_{self.patches_per_photo}_seed{self.seed}"


def evaluate_cell(
    study: ManipulationStudy,
    cell: Cell,
    training: Sequence[Patches],
    testing: Sequence[Patches],
    device: str = "cpu",
) -> dict[str, Any]:
    """Train, and judge the patches of other devices; a row of `RECORDS`.

    Args:
        study: the settings.
        cell: which of its cells.
        training: per photo what `patches.cut` gives for the study's ``manipulations``.
        testing: the same of photos by other devices.
        device: of torch.
    """
    tested_on = sorted({str(name) for photo in testing for name in photo.devices[:1]})
    labels = (0, 1 + study.tasks.index(cell.task))
    count, test_count = cell.patches_per_photo, study.test_patches_per_photo
    train = gather([few(p, count, [cell.seed, k]) for k, p in enumerate(training)], labels)
    test = gather([few(p, test_count, k) for k, p in enumerate(testing)], labels)
    start = time.perf_counter()
    try:
        judge = _trained(study, cell, train, device)
    except UserError as error:
        return {**abstain(cell, error, Status.NOT_APPLICABLE), "tested_on": tested_on}
    seconds = time.perf_counter() - start
    scores = judge(test)
    right = (scores > 0) == (test.labels == 1)
    return {
        **asdict(cell),
        "tested_on": tested_on,
        "status": str(Status.OK),
        "reason": None,
        "training_patches": len(train),
        "test_patches": len(test),
        "accuracy": float(right.mean()),
        "recall_pristine": float(right[test.labels == 0].mean()),
        "recall_manipulated": float(right[test.labels == 1].mean()),
        "auc": _auc(scores, test),
        "seconds": seconds,
    }


def abstain(cell: Cell, error: BaseException, status: Status = Status.FAILED) -> dict[str, Any]:
    """The record of a cell that could not be made."""
    return {**asdict(cell), "status": str(status), "reason": explain(error)}


def _auc(scores: NDArray[np.floating[Any]], test: Patches) -> float:
    """How well scores rank within a device: its own noise, which shifts them all, is no harm."""
    own = [test.devices == device for device in np.unique(test.devices)]
    return float(np.mean([auc(scores[these], test.labels[these]) for these in own]))


def _trained(
    study: ManipulationStudy, cell: Cell, patches: Patches, device: str
) -> Callable[[Patches], NDArray[np.floating[Any]]]:
    """What the method makes of the patches: scores of others, above 0 where manipulated."""
    if cell.method == "svm":
        svm = ResidualSVM().fit(patches.pixels, patches.labels, patches.devices)
        return lambda others: svm.decision(srm_histogram(others.pixels))[:, 0]
    shape = NetworkSettings(classes=(PRISTINE, cell.task), window=study.window)
    network: PatchNetwork
    if cell.method == "bayar":
        network, settings = BayarNetwork(shape, cell.seed), study.bayar
    else:
        network, settings = ResidualNetwork(shape), study.residual
    epochs = 0 if cell.method == "start" else settings.epochs
    settings = settings.model_copy(update={"seed": cell.seed, "epochs": epochs})
    training = ManipulationTraining(network.to(device), patches, settings)
    for _ in training.epochs():
        pass
    trained = training.finish()
    return lambda others: probabilities(trained, others)[:, 1] - 0.5
