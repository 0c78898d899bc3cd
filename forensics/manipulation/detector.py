"""Which processing did the image undergo, and where did it undergo another?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import pyarrow as pa
import torch
from pydantic import Field
from torch import Tensor

from forensics.config import Settings
from forensics.detectors import Resources, Subject
from forensics.localize.threshold import score, stm
from forensics.manipulation import weights
from forensics.manipulation.base import GREEN, SPOILT
from forensics.manipulation.dense import dense_scores
from forensics.manipulation.windows import Axis, pieces, to_cells, window_sums
from forensics.records import Finding, Map, NotApplicable

TAU = 0.8
"""Default threshold of the decision, chosen on 15 photos of cameras not trained on: at 0.8 1.2 % of
them is called different (0.7: 3.2 %), and at 0.9 parts are missed that 0.8 finds."""

_CLASSES = pa.list_(pa.struct([("label", pa.string()), ("probability", pa.float64())]))
_PIXEL, _CELL, _FIXED = 16, 250, 1 << 27  # bytes, per class for cells


class ManipulationSettings(Settings):
    """Manipulations told apart by their residuals."""

    weights: str | None = Field(
        default=None, description="URI of a trained network; empty: the one of the project"
    )
    stride: int = Field(default=8, gt=0, description="side of a cell of the maps in pixels")
    tau: float = Field(
        default=TAU, gt=0, lt=1, description="probability from which a part counts as different"
    )
    min_region_px: int = Field(
        default=64, ge=0, description="side of the smallest region in pixels"
    )
    dilation_px: int = Field(
        default=0, ge=0, description="diameter by which regions grow in pixels"
    )


class ManipulationDetector:
    """Class probabilities of the whole image, where windows are of other classes, and of which.

    Of a part that is decided to differ, ``part_label`` and ``part_classes`` say what ``label`` and
    ``classes`` say of the image; they are None where nothing is decided. Pristine is taken to be as
    likely beforehand as all manipulations together. Windows that are mostly black or white are not
    judged.
    """

    name: ClassVar[str] = "manipulation"
    columns: ClassVar[Mapping[str, pa.DataType]] = {
        "label": pa.string(),
        "manipulated": pa.float64(),
        "classes": _CLASSES,
        "part_label": pa.string(),
        "part_classes": _CLASSES,
        "decision": pa.bool_(),
        "tampered_fraction": pa.float64(),
        "tau": pa.float64(),
        "judged_fraction": pa.float64(),
    }

    def __init__(self, settings: ManipulationSettings | None, resources: Resources) -> None:
        self._settings = settings if settings is not None else ManipulationSettings()
        trained = weights.load(self._settings.weights)
        self._network = trained.network.to(resources.device)
        self._digest = trained.digest

    def examine(self, subject: Subject) -> Finding:
        """Maps at the stride of the settings; ``score`` is the highest threshold still decided."""
        settings, labels = self._settings, self._network.settings.classes
        height, width = subject.image.height, subject.image.width
        window = self._network.settings.window
        if min(height, width) < window:
            raise NotApplicable(f"{width}x{height} pixels are smaller than the window of {window}")
        green = subject.pixels[..., GREEN]
        rows, columns = (Axis.of(size, window, settings.stride) for size in green.shape)
        judged = _judged(green, window, settings.stride, rows, columns)
        if not bool(judged.any()):
            raise NotApplicable("every window of the image is mostly black or white")
        scores = dense_scores(self._network, green, settings.stride)
        image = posterior(scores[judged].mean(0))
        different = torch.where(judged, difference(posterior(scores), image), 0.0)
        probability = to_cells(different, rows, columns).cpu().numpy()
        decision = stm(
            probability, settings.stride, settings.tau, settings.min_region_px, settings.dilation_px
        )
        inside = to_cells(judged, rows, columns).cpu().numpy() & decision
        part = None
        if inside.any():
            cells = to_cells(scores, rows, columns)
            part = posterior(cells[torch.from_numpy(inside).to(cells.device)].mean(0))
        return Finding(
            score=score(probability, settings.stride, settings.min_region_px),
            values={
                "label": labels[int(image.argmax())],
                "manipulated": min(max(1 - float(image[0]), 0.0), 1.0),
                "classes": _by_probability(labels, image),
                "part_label": None if part is None else labels[int(part.argmax())],
                "part_classes": None if part is None else _by_probability(labels, part),
                "decision": bool(decision.any()),
                "tampered_fraction": float(decision.mean()),
                "tau": settings.tau,
                "judged_fraction": float(judged.float().mean()),
            },
            maps=(
                Map("probability", settings.stride, probability),
                Map("decision", settings.stride, decision),
            ),
        )

    def identity(self) -> Mapping[str, Any]:
        """The file of the weights."""
        return {"weights": self._digest}

    def bytes_needed(self, height: int, width: int) -> int:
        """Planes of the image, the scores of its windows, and what strips take."""
        stride = self._settings.stride
        cells = math.ceil(height / stride) * math.ceil(width / stride)
        classes = len(self._network.settings.classes)
        return _FIXED + _PIXEL * height * width + _CELL * classes * cells


def posterior(scores: Tensor) -> Tensor:
    """Class probabilities (..., classes): class 0 is as likely beforehand as all others together.

    Training showed all classes equally often.
    """
    prior = torch.zeros(scores.shape[-1], device=scores.device)
    prior[0] = math.log(scores.shape[-1] - 1)
    return torch.softmax(scores + prior, -1)


def difference(classes: Tensor, image: Tensor) -> Tensor:
    """The least probability with which a window's class is not the image's, 0..1.

    ``1 − Σ min(p, q)``, the total variation distance of the window's (..., classes) and the image's
    (classes,) probabilities.
    """
    return (1 - torch.minimum(classes, image).sum(-1)).clamp(0, 1)


def _by_probability(labels: Sequence[str], classes: Tensor) -> list[dict[str, Any]]:
    """The most probable first."""
    order = classes.argsort(descending=True, stable=True).tolist()
    return [{"label": labels[i], "probability": float(classes[i])} for i in order]


def _judged(green: Tensor, window: int, stride: int, rows: Axis, columns: Axis) -> Tensor:
    """bool (rows.count, columns.count)."""
    part = green[rows.covered(window, stride), columns.covered(window, stride)]
    spoilt = ((part == 0) | (part == 255)).to(torch.float32)
    sums = pieces(pieces(spoilt, window, stride, 0), window, stride, 1)
    down = window_sums(sums, window, stride, rows.count, 0)
    return window_sums(down, window, stride, columns.count, 1) < SPOILT * window**2
