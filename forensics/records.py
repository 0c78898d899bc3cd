"""The nouns that flow through a scan, and the errors that carry a reason.

``ManifestRow → Evidence → Image → Residual → Correlation → Prediction → Probability → Decision →
ReportRow``. Residual, correlation, prediction, probability and decision are plain arrays; the nouns
that carry more than an array are the frozen classes below.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from forensics.redact import redact
from forensics.text import visible, visible_lines

Rgb = NDArray[np.uint8]
"""Pixels on the sensor grid: uint8, shape (H, W, 3)."""

FORGED, PRISTINE = "forged", "pristine"
"""Labels of a manifest: the ground truth of an image."""

MapKind = Literal["probability", "confidence", "decision", "noiseprint"]


class Status(StrEnum):
    """What became of a manifest row, or of one detector on it."""

    OK = "ok"
    NOT_APPLICABLE = "not_applicable"
    UNREADABLE = "unreadable"
    TIMEOUT = "timeout"
    FAILED = "failed"


class UserError(Exception):
    """Bad input or settings; the message says what, where and what to do. Jobs print it bare.

    Names from outside may be in it: whatever a terminal would obey is spelt out.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(visible_lines(message))


class Unreadable(Exception):
    """The evidence is no image that can be decoded; the message is the decoder's reason."""


class NotApplicable(Exception):
    """A detector abstains; the message is the reason."""


_COLOUR = re.compile(r"\x1b\[[0-9;]*m")  # of terminals; Ray writes them into its messages


def explain(error: BaseException) -> str:
    """An exception as one line for a report: its message, led by its kind if it may be a bug.

    Holds no secret, no hidden character and at most 500 characters.
    """
    message = visible(redact(" ".join(_COLOUR.sub("", str(error)).split())))[:500]
    if message and isinstance(error, UserError | Unreadable | NotApplicable | MemoryError):
        return message
    return f"{type(error).__name__}: {message}"


@dataclass(frozen=True, slots=True)
class ManifestRow:
    """One image of the archive, as listed in the manifest."""

    image_id: str
    uri: str
    camera_id: str | None = None
    sha256: str | None = None
    size: int | None = None  # bytes
    split: str | None = None
    label: str | None = None
    mask_uri: str | None = None
    source: str | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """The file as found: its bytes and their SHA-256 (hex), taken before anything decodes them."""

    data: bytes
    sha256: str


@dataclass(frozen=True, slots=True)
class Image:
    """A decoded image on the sensor grid: never rotated, resized or colour-managed.

    ``pixels`` is uint8 (H, W, 3). ``bit_depth`` is the file's own; samples deeper than 8 bit were
    scaled to 0..255 with rounding, never clipped.
    """

    pixels: Rgb
    format: str  # as the decoder names it: JPEG, PNG, …
    bit_depth: int = 8
    jpeg_quality: int | None = None  # 1..100, estimated from the quantisation tables
    orientation: int = 1  # EXIF tag, recorded and not applied
    exif: Mapping[str, str] = field(default_factory=dict)  # make, model, serial, software, datetime

    @property
    def height(self) -> int:
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        return int(self.pixels.shape[1])


@dataclass(frozen=True, slots=True)
class Map:
    """Something to look at: one value per ``stride`` x ``stride`` cell of the image.

    ``values`` has shape (ceil(H/stride), ceil(W/stride)); cell (i, j) covers the pixels
    ``[i*stride, (i+1)*stride) x [j*stride, (j+1)*stride)``. Probability and confidence are float32
    in 0..1, a decision is bool. A noiseprint is float32, scaled to 0..1 to be looked at.
    """

    kind: MapKind
    stride: int  # pixels
    values: NDArray[Any]


@dataclass(frozen=True, slots=True)
class Finding:
    """What one detector says of one image.

    ``score`` is in 0..1 and higher is more suspicious; None where the detector has no such scale.
    ``values`` holds the detector's own columns (see ``Detector.columns``).
    """

    status: Status = Status.OK
    reason: str | None = None
    score: float | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    maps: tuple[Map, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class ReportRow:
    """The answer to one manifest row. Every manifest row gets exactly one."""

    row: ManifestRow
    status: Status
    reason: str | None = None
    sha256: str | None = None
    size: int | None = None  # bytes
    width: int | None = None  # pixels
    height: int | None = None  # pixels
    format: str | None = None
    bit_depth: int | None = None
    jpeg_quality: int | None = None
    orientation: int | None = None
    findings: Mapping[str, Finding] = field(default_factory=dict)
    seconds: float = 0.0
