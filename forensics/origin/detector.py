"""Is it a photograph, a rendering, or made by a network?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import pyarrow as pa
from pydantic import Field, model_validator

from forensics.config import Settings
from forensics.detectors import Resources, Subject
from forensics.origin import weights
from forensics.origin.judge import Judged, judge, predictor
from forensics.origin.level import compressed_alike
from forensics.origin.patches import PatchSettings
from forensics.origin.voting import majority
from forensics.records import Finding, NotApplicable

_BATCH = 16  # patches that the network sees at once
_PIXEL, _FIXED = 40, 1 << 27  # bytes
_COMPRESSED = 3  # bytes of a pixel of the image that is judged, if it is not the one as found


class OriginSettings(Settings):
    """Origin of an image by the vote of its patches."""

    weights: str | None = Field(
        default=None, description="URI of a network that jobs.train_origin wrote"
    )
    patches: int = Field(default=200, ge=1, description="patches that vote; time grows with them")
    min_patches: int = Field(
        default=20, ge=1, description="an image that gives fewer is not judged"
    )
    seed: int = Field(default=0, ge=0, description="seed for drawing the patches")

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        if self.min_patches > self.patches:
            raise ValueError(f"min_patches {self.min_patches} exceeds patches {self.patches}")
        return self


class OriginDetector:
    """Class of the image by majority vote, the table of votes, and every patch's own answer."""

    name: ClassVar[str] = "origin"
    columns: ClassVar[Mapping[str, pa.DataType]] = {
        "label": pa.string(),
        "votes": pa.list_(
            pa.struct(
                [("label", pa.string()), ("patches", pa.int64()), ("probability", pa.float64())]
            )
        ),
        "tied": pa.bool_(),
        "patches": pa.int64(),
        "boxes": pa.list_(
            pa.struct(
                [
                    ("left", pa.int32()),
                    ("top", pa.int32()),
                    ("width", pa.int32()),
                    ("height", pa.int32()),
                    ("vote", pa.int32()),
                    ("probabilities", pa.list_(pa.float64())),
                ]
            )
        ),
    }

    def __init__(self, settings: OriginSettings | None, resources: Resources) -> None:
        self._settings = settings if settings is not None else OriginSettings()
        self._trained = None
        if self._settings.weights is not None:
            self._trained = weights.load(self._settings.weights)
            self._trained.network.to(resources.device)

    def examine(self, subject: Subject) -> Finding:
        """``score`` is 1 − the mean probability of a photograph, where the classes have one.

        Where the network learned from levelled images, the image is compressed as those were.
        """
        if self._trained is None:
            raise NotApplicable(
                "no weights: the setting origin.weights is not given; train a network with "
                "jobs.train_origin on images of the classes that are to be told apart"
            )
        settings, network = self._settings, self._trained.network
        patches = PatchSettings(side=network.settings.side, count=settings.patches)
        rgb, quality = subject.image.pixels, network.settings.jpeg_quality
        if quality is not None:  # the network has seen nothing else
            rgb = compressed_alike(rgb, quality)
        judged = judge(rgb, patches, predictor(network), settings.seed)
        vote = majority(judged.probabilities, settings.min_patches)
        labels, natural = network.settings.classes, network.settings.natural
        shares = vote.probabilities.tolist()
        score = None
        if natural is not None:
            score = min(max(1 - shares[labels.index(natural)], 0.0), 1.0)
        return Finding(
            score=score,
            values={
                "label": labels[vote.winner],
                "votes": [
                    {"label": label, "patches": count, "probability": share}
                    for label, count, share in zip(labels, vote.table.tolist(), shares, strict=True)
                ],
                "tied": vote.tied,
                "patches": len(vote.votes),
                "boxes": _boxes(judged, vote.votes.tolist(), patches.side),
            },
        )

    def identity(self) -> Mapping[str, Any]:
        """The file of the weights."""
        return {"weights": self._trained.digest if self._trained else None}

    def bytes_needed(self, height: int, width: int) -> int:
        """Planes of the edge detection, the compressed image, patches that are seen at once."""
        pixel = _PIXEL
        if self._trained is None:
            return _FIXED + pixel * height * width
        network = self._trained.network
        if network.settings.jpeg_quality is not None:
            pixel += _COMPRESSED
        return _FIXED + _BATCH * network.activations + pixel * height * width


def _boxes(judged: Judged, votes: list[int], side: int) -> list[dict[str, Any]]:
    rows = zip(judged.selection.corners.tolist(), votes, judged.probabilities.tolist(), strict=True)
    return [
        {
            "left": left,
            "top": top,
            "width": side,
            "height": side,
            "vote": vote,
            "probabilities": shares,
        }
        for (top, left), vote, shares in rows
    ]
