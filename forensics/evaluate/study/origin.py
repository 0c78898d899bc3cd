"""A study of the origin of images (Table 1 and Fig. 5): its settings, and one cell of it.

A cell is a method, images levelled or as found, and a fold of sources to test on; the method learns
from all other sources.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from forensics import storage
from forensics.config import Settings
from forensics.evaluate.study.cases import status_of
from forensics.evaluate.study.origin_operations import Operation
from forensics.origin.baselines import Baseline
from forensics.origin.judge import Predict, judge, predictor
from forensics.origin.level import LevelSettings
from forensics.origin.network import NetworkSettings, OriginNetwork
from forensics.origin.patches import PatchSettings
from forensics.origin.voting import majority
from forensics.origin.weights import fix_first_layers
from forensics.records import Status, UserError, explain
from forensics.train.origin.images import OriginImage
from forensics.train.origin.training import OriginTraining, TrainingSettings

Method = Literal["ada", "vgg", "histogram", "saturation", "cooccurrence"]
CNN: tuple[Method, ...] = ("ada", "vgg")
"""The methods that train a network."""

Quality = Annotated[int, Field(ge=1, le=100)]
Factor = Annotated[float, Field(gt=0, le=4)]
Alpha = Annotated[float, Field(ge=0, lt=1)]

RECORDS = pa.schema(
    [
        ("image_id", pa.string()),
        ("source", pa.string()),
        ("label", pa.string()),
        ("method", pa.string()),
        ("levelled", pa.bool_()),
        ("fold", pa.int64()),
        ("operation", pa.string()),
        ("status", pa.string()),
        ("reason", pa.string()),
        ("patches", pa.int64()),
        ("patches_right", pa.int64()),
        ("said", pa.string()),  # by most votes
        ("votes", pa.list_(pa.int64())),  # in the order of the classes
    ]
)


class OriginStudy(Settings):
    """How well the origin of images is told, by which method."""

    methods: tuple[Method, ...] = Field(
        ("ada", "histogram", "saturation", "cooccurrence"),
        min_length=1,
        description="ada, vgg (needs vgg_weights), histogram, saturation, cooccurrence",
    )
    levelled: tuple[bool, ...] = Field(
        (True, False), min_length=1, description="true: images levelled; false: as found"
    )
    folds: int = Field(5, ge=2, description="folds, each tested on once")
    apart: Literal["sources", "images"] = Field(
        "sources", description="what no two folds share: whole sources, or images (the paper)"
    )
    natural: str = Field("npi", description="the label of photographs")
    jpeg_qualities: tuple[Quality, ...] = Field((), description="robustness: JPEG qualities")
    scales: tuple[Factor, ...] = Field((), description="robustness: factors for both sides")
    turns: bool = Field(False, description="robustness: rotations and flips")
    contrasts: tuple[Alpha, ...] = Field((), description="robustness: α of contrast stretching")
    patches: PatchSettings = PatchSettings()
    test_patches: int | None = Field(None, ge=1, description="patches to test on [patches.count]")
    level: LevelSettings = LevelSettings()
    width: float = Field(1.0, gt=0, le=1, description="part of the paper's filters")
    vgg_weights: str | None = Field(None, description="URI of VGG-19's weights, for vgg")
    training: TrainingSettings = TrainingSettings()
    seed: int = Field(0, ge=0, description="of folds, patches and intervals")
    max_megapixels: float = Field(200.0, gt=0, description="pixels per image, before decoding")

    def cells(self) -> Iterator[Cell]:
        """All combinations, each once; what is quick comes first."""
        quick = sorted(dict.fromkeys(self.methods), key=lambda method: method in CNN)
        levels = tuple(dict.fromkeys(self.levelled))
        for method, levelled, fold in product(quick, levels, range(self.folds)):
            yield Cell(method, levelled, fold)

    def operations(self, levelled: bool) -> tuple[Operation, ...]:
        """What test images undergo; those as found undergo nothing."""
        if not levelled:
            return (Operation(),)
        turns = [Operation("rotate", a) for a in (90, 180, 270)] if self.turns else []
        flips = [Operation("flip", a) for a in (0, 1)] if self.turns else []
        return (
            Operation(),
            *(Operation("jpeg", q) for q in self.jpeg_qualities),
            *(Operation("scale", f) for f in self.scales),
            *turns,
            *flips,
            *(Operation("contrast", a) for a in self.contrasts),
        )


@dataclass(frozen=True, slots=True)
class Cell:
    """A method tested on one fold."""

    method: Method
    levelled: bool
    fold: int

    @property
    def name(self) -> str:
        """Such as ``ada_levelled_fold0``."""
        return f"{self.method}_{'levelled' if self.levelled else 'as-found'}_fold{self.fold}"


def evaluate_cell(
    study: OriginStudy,
    classes: Sequence[str],
    cell: Cell,
    training: Sequence[OriginImage],
    testing: Sequence[OriginImage],
    device: str = "cpu",
) -> dict[str, Any]:
    """Learn, and judge the images of other sources in all variants.

    Args:
        study: the settings.
        classes: labels in the order of the numbers of the images.
        cell: which of its cells.
        training: levelled, or not, as the cell says, of every class.
        testing: the same, of other sources; their patches are drawn anew.
        device: of torch.

    Returns:
        Ready for JSON: ``records`` (rows of `RECORDS`), ``seconds`` of learning, ``training``
        (patches learned from), and of a CNN ``filters``, its first layer.
    """
    start = time.perf_counter()
    try:
        predict, filters = _learned(study, cell, classes, training, device)
    except UserError as error:
        return abstain(study, classes, cell, testing, error, Status.NOT_APPLICABLE)
    seconds = time.perf_counter() - start
    patches = study.patches
    if study.test_patches is not None:
        patches = patches.model_copy(update={"count": study.test_patches})
    records = []
    for image in testing:
        seed = [study.seed, zlib.crc32(image.image_id.encode())]
        for operation in study.operations(cell.levelled):
            known = _known(cell, classes, image, operation)
            try:
                judged = judge(operation.apply(image.pixels), patches, predict, seed)
            except Exception as error:
                status, reason = status_of(error)
                records.append({**known, "status": str(status), "reason": reason})
                continue
            vote = majority(judged.probabilities)
            records.append(
                {
                    **known,
                    "status": str(Status.OK),
                    "reason": None,
                    "patches": len(vote.votes),
                    "patches_right": int((vote.votes == image.label).sum()),
                    "said": classes[vote.winner],
                    "votes": vote.table.tolist(),
                }
            )
    return {
        "records": records,
        "seconds": seconds,
        "training": sum(len(image.corners) for image in training),
        "filters": filters,
    }


def abstain(
    study: OriginStudy,
    classes: Sequence[str],
    cell: Cell,
    testing: Sequence[OriginImage],
    error: BaseException,
    status: Status = Status.FAILED,
) -> dict[str, Any]:
    """What there is to say of a cell that could not be made."""
    outcome = {"status": str(status), "reason": explain(error)}
    records = [
        {**_known(cell, classes, image, operation), **outcome}
        for image in testing
        for operation in study.operations(cell.levelled)
    ]
    return {"records": records, "seconds": None, "training": None, "filters": None}


def _learned(
    study: OriginStudy,
    cell: Cell,
    classes: Sequence[str],
    training: Sequence[OriginImage],
    device: str,
) -> tuple[Predict, list[Any] | None]:
    if cell.method != "ada" and cell.method != "vgg":
        side = study.patches.side
        baseline = Baseline(cell.method)
        values = np.concatenate([baseline.features(image.patches(side)) for image in training])
        labels = np.repeat([i.label for i in training], [len(i.corners) for i in training])
        return baseline.fit_features(values, labels, len(classes)).predict, None
    network = OriginNetwork(
        NetworkSettings(
            classes=tuple(classes),
            natural=study.natural,
            scenario=cell.method,
            side=study.patches.side,
            width=study.width,
        ),
        study.training.seed,
    )
    if cell.method == "vgg":
        if study.vgg_weights is None:
            raise UserError("the method vgg needs vgg_weights, a file with VGG-19's weights")
        fix_first_layers(network, storage.read(study.vgg_weights), study.vgg_weights)
    learning = OriginTraining(network.to(device), training, (), study.training)
    for _ in learning.epochs():
        pass
    trained = learning.finish()
    return predictor(trained), trained.first.cpu().numpy().tolist()


def _known(
    cell: Cell, classes: Sequence[str], image: OriginImage, operation: Operation
) -> dict[str, Any]:
    return {
        "image_id": image.image_id,
        "source": image.source,
        "label": classes[image.label],
        **asdict(cell),
        "operation": operation.name,
    }
