"""One cell of a study of the origin: a method learns from some sources and is tested on others."""

from __future__ import annotations

import math
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from forensics.evaluate.study.cases import status_of
from forensics.evaluate.study.origin import Cell, OriginStudy
from forensics.evaluate.study.origin_operations import Operation
from forensics.origin.baselines import Baseline
from forensics.origin.judge import Predict, judge, predictor
from forensics.origin.network import NetworkSettings, OriginNetwork
from forensics.origin.voting import majority
from forensics.origin.weights import fix_first_layers
from forensics.records import Status, UserError, explain
from forensics.train.origin.images import OriginImage
from forensics.train.origin.training import Epoch, OriginTraining

_NOTHING = dict.fromkeys(("seconds", "training", "filters", "history"))


def evaluate_cell(
    study: OriginStudy,
    classes: Sequence[str],
    cell: Cell,
    training: Sequence[OriginImage],
    testing: Sequence[OriginImage],
    device: str = "cpu",
    *,
    vgg: bytes | None = None,
    tell: Callable[[str], object] = lambda _: None,
) -> dict[str, Any]:
    """Learn, and judge the images of other sources in all variants.

    Args:
        study: the settings.
        classes: labels in the order of the numbers of the images.
        cell: which of its cells.
        training: levelled, or not, as the cell says, of every class.
        testing: the same, of other sources; their patches are drawn anew. They follow the course
            of a training, and choose nothing. Where there are none, nothing is learned.
        device: of torch.
        vgg: content of the file of VGG-19's weights, for vgg.
        tell: called with a line after every epoch.

    Returns:
        Ready for JSON: ``records`` (rows of `RECORDS`), ``seconds`` of learning, ``training``
        (patches learned from), and of a CNN ``filters``, its first layer, and ``history``, its
        epochs: whether it never knew other sources, or knew them and then forgot.
    """
    if not testing:
        return {"records": [], **_NOTHING}
    start = time.perf_counter()
    try:
        learned = _learned(study, cell, classes, training, testing, device, vgg, tell)
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
                judged = judge(operation.apply(image.pixels), patches, learned.predict, seed)
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
        "filters": learned.filters,
        "history": learned.history,
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
    return {"records": records, **_NOTHING}


@dataclass(frozen=True, slots=True)
class _Learned:
    predict: Predict
    filters: list[Any] | None = None
    history: list[dict[str, Any]] | None = None


def _learned(
    study: OriginStudy,
    cell: Cell,
    classes: Sequence[str],
    training: Sequence[OriginImage],
    testing: Sequence[OriginImage],
    device: str,
    vgg: bytes | None,
    tell: Callable[[str], object],
) -> _Learned:
    if cell.method != "ada" and cell.method != "vgg":
        side = study.patches.side
        baseline = Baseline(cell.method)
        values = np.concatenate([baseline.features(image.patches(side)) for image in training])
        labels = np.repeat([i.label for i in training], [len(i.corners) for i in training])
        return _Learned(baseline.fit_features(values, labels, len(classes)).predict)
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
        if vgg is None:
            raise UserError("the method vgg needs vgg_weights, a file with VGG-19's weights")
        fix_first_layers(network, vgg, str(study.vgg_weights))
    learning = OriginTraining(network.to(device), training, testing, study.training)
    history = []
    for epoch in learning.epochs():
        history.append(_plain(epoch))
        tell(
            f"{cell.name}: epoch {epoch.number}/{study.training.epochs}, loss {epoch.loss:.4f}, "
            f"patches right {epoch.accuracy:.3f}, of test images {epoch.held_out_accuracy:.3f}"
        )
    trained = learning.finish()
    return _Learned(predictor(trained), trained.first.cpu().numpy().tolist(), history)


def _plain(epoch: Epoch) -> dict[str, Any]:
    """None where nothing is watched: JSON has no nan."""
    found = asdict(epoch)
    return {k: None if math.isnan(v) else v for k, v in found.items()}


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
