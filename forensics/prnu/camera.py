"""Which known camera took the image?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import pyarrow as pa
from pydantic import Field

from forensics.config import Settings
from forensics.detectors import Resources, Subject
from forensics.prnu.correlation import Correlator
from forensics.prnu.library import CameraEntry, CameraLibrary
from forensics.prnu.residual import gray
from forensics.records import Finding, NotApplicable, Status

MIN_SIDE = 64  # pixels: smaller images hold too little of any fingerprint
RANKED = 10  # cameras in the rank list

_STRUCT = pa.struct([("camera_id", pa.string()), ("pce", pa.float64()), ("ncc", pa.float64())])


class CameraSettings(Settings):
    """Camera identification."""

    pce_threshold: float = Field(
        default=60.0, gt=0, description="peak-to-correlation energy from which a crop is a camera's"
    )
    pce_threshold_in_place: float = Field(
        default=30.0,
        gt=0,
        description="the same threshold for an image of the fingerprint's size, tested in place",
    )

    def over(self, match: Match) -> float:
        """PCE over its threshold: from 1 up the camera counts as found."""
        return match.pce / (self.pce_threshold_in_place if match.in_place else self.pce_threshold)


@dataclass(frozen=True, slots=True)
class Match:
    """How well the image fits one fingerprint, and where it lies on the sensor."""

    camera_id: str
    pce: float
    ncc: float
    offset_y: int  # pixels from the top of the fingerprint
    offset_x: int
    in_place: bool  # the image has the size of the fingerprint


class CameraDetector:
    """Best camera by peak-to-correlation energy (PCE) over all known fingerprints.

    Goljan, Fridrich, Filler 2009, doi:10.1117/12.805701. An image of the fingerprint's size must
    match in place, which is one chance to match by accident; a smaller one is searched for as a
    crop, which is millions, hence the higher threshold.
    """

    name: ClassVar[str] = "camera"
    columns: ClassVar[Mapping[str, pa.DataType]] = {
        "best_camera": pa.string(),
        "pce": pa.float64(),
        "ncc": pa.float64(),
        "offset_y": pa.int32(),
        "offset_x": pa.int32(),
        "claimed": pa.string(),
        "agrees": pa.bool_(),
        "rank": pa.list_(_STRUCT),
    }

    def __init__(self, settings: CameraSettings, resources: Resources) -> None:
        self._settings = settings
        self._library = resources.library

    def examine(self, subject: Subject) -> Finding:
        """Ranks the cameras. Not applicable, with the rank list, where none is found.

        ``agrees`` compares the camera that the manifest names with the one found; it is missing
        where the manifest's has no fingerprint here, or none was found.
        """
        matches = rank(subject, self._library, self._settings)
        best = matches[0]
        found = self._settings.over(best) >= 1
        claimed = subject.row.camera_id
        comparable = found and self._library is not None and claimed in self._library
        values = {
            "best_camera": best.camera_id if found else None,
            "pce": best.pce,
            "ncc": best.ncc,
            "offset_y": best.offset_y if found else None,
            "offset_x": best.offset_x if found else None,
            "claimed": claimed,
            "agrees": claimed == best.camera_id if comparable else None,
            "rank": [
                {"camera_id": m.camera_id, "pce": m.pce, "ncc": m.ncc} for m in matches[:RANKED]
            ],
        }
        if found:
            return Finding(values=values)
        return Finding(
            Status.NOT_APPLICABLE,
            f"no known camera: {too_weak(best, self._settings)}",
            values=values,
        )

    def identity(self) -> Mapping[str, Any]:
        """The camera models that were compared with."""
        return {"camera_models": self._library.digest if self._library else None}

    def bytes_needed(self, height: int, width: int) -> int:
        """Residual, and the transforms of the cross-correlation on the grid of a fingerprint."""
        return bytes_to_match(self._library, height, width)


def rank(subject: Subject, library: CameraLibrary | None, settings: CameraSettings) -> list[Match]:
    """The cameras whose sensor can hold the image, best first. Raises `NotApplicable`."""
    if library is None:
        raise NotApplicable("no fingerprints: the setting camera_models is not given")
    height, width = subject.image.height, subject.image.width
    able = [entry for entry in library if entry.height >= height and entry.width >= width]
    if not able:
        sizes = sorted({(e.width, e.height) for e in library})
        known = ", ".join(f"{w}x{h}" for w, h in sizes[:RANKED])
        raise NotApplicable(
            f"{width}x{height} pixels do not fit any fingerprint (there are {known}): "
            "resized, rotated, or from an unknown camera"
        )
    matches = match(subject, library, able)
    return sorted(matches, key=lambda m: (-settings.over(m), m.camera_id))


def match(subject: Subject, library: CameraLibrary, entries: Iterable[CameraEntry]) -> list[Match]:
    """The image against each fingerprint, computed once per subject. Raises `NotApplicable`."""
    height, width = subject.image.height, subject.image.width
    if min(height, width) < MIN_SIDE:
        raise NotApplicable(f"{width}x{height} pixels are too few, {MIN_SIDE} a side are needed")
    correlators: dict[tuple[float, int], Correlator] = {}

    def compute(entry: CameraEntry) -> Match:
        model = library.model(entry.camera_id)
        settings = (model.sigma, model.levels)
        if settings not in correlators:
            residual = subject.residual(*settings)
            if not bool(residual.any()):
                raise NotApplicable("the image is constant: it holds no noise to compare")
            correlators[settings] = Correlator(residual)
        in_place = (entry.height, entry.width) == (height, width)
        K = model.fingerprint
        reference = K * gray(subject.pixels) if in_place else K
        found = correlators[settings].pce(reference, aligned_only=in_place)
        return Match(entry.camera_id, found.pce, found.ncc, *found.offset, in_place)

    return [
        subject.shared(("match", entry.camera_id, entry.digest), partial(compute, entry))
        for entry in entries
    ]


def too_weak(best: Match, settings: CameraSettings) -> str:
    """Why a match does not count."""
    threshold = settings.pce_threshold_in_place if best.in_place else settings.pce_threshold
    return f"PCE {best.pce:.1f} for {best.camera_id} is under the threshold {threshold:g}"


def bytes_to_match(library: CameraLibrary | None, height: int, width: int) -> int:
    """Working memory of `match` for an image of that size, camera models not counted."""
    able = [e for e in library or () if e.height >= height and e.width >= width]
    if not able:
        return 3 * height * width  # the pixels: nothing is computed
    return 40 * height * width + 25 * max(e.height * e.width for e in able)
