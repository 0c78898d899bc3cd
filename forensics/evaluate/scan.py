"""A shard of a scan against the truth: one record per image and detector.

The truth of an image is its label (``forged`` or ``pristine``; any other says nothing), for a
forged one a mask (samples above 127 are forged), the kind of forgery (``source``) and the camera.
It stands in the report, as the manifest gave it, or in a manifest of its own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from forensics import storage
from forensics.decode import decode, probe
from forensics.evaluate.metrics import away_from_border
from forensics.evaluate.tally import Tally, cell_areas, cell_counts, tally
from forensics.records import FORGED, PRISTINE, ManifestRow, Map, Status, Unreadable, UserError
from forensics.report.mapcodec import decode_map
from forensics.run import Run

Border = Literal["count", "trufor"]
"""Pixels along the border of a mask: counted, or left out (``metrics.away_from_border``)."""

THRESHOLDS = np.linspace(0, 1, 26)[1:-1]
"""24 thresholds uniform in (0, 1), for the F1 curve: 0.04, 0.08 … 0.96."""

RECORDS = pa.schema(
    [
        ("image_id", pa.string()),
        ("detector", pa.string()),
        ("label", pa.string()),
        ("source", pa.string()),  # kind of forgery
        ("camera_id", pa.string()),
        ("status", pa.string()),  # of the detector; of the row where no detector was asked
        ("reason", pa.string()),
        ("score", pa.float64()),
        ("decision", pa.bool_()),
        ("best_camera", pa.string()),  # of a detector that names cameras
        ("ranked", pa.list_(pa.string())),  # the cameras that it ranked, best first
        ("pce", pa.float64()),  # of the best camera, found or not
        ("f1_best", pa.float64()),  # pixels of the probability map, best threshold
        ("best_threshold", pa.float64()),  # -inf where calling every pixel is best
        ("pixel_auc", pa.float64()),
        ("f1_curve", pa.list_(pa.float64())),  # at THRESHOLDS
        ("f1_decision", pa.float64()),  # pixels of the decision map
        ("iou", pa.float64()),
        ("mcc", pa.float64()),
        ("tampered_fraction", pa.float64()),  # of the pixels, in truth
        ("false_alarm_area", pa.float64()),  # share of a pristine image decided as tampered
        ("problem", pa.string()),  # why the pixels of this image could not be compared
    ]
)


class Problem(Exception):
    """The pixels of one image cannot be compared with the truth; the message says why."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where an image is forged: bool (H, W) each; ``valid`` is false where no pixel counts."""

    forged: NDArray[np.bool_]
    valid: NDArray[np.bool_] | None = None

    def tally(self, item: Map) -> Tally:
        """Pixels per value of a map of this image."""
        forged, pristine = self.cells(item.stride)
        _check_shape(item, forged.shape)
        return tally(item.values, forged, pristine)

    def cells(self, stride: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Forged and pristine pixels that count, in each ``stride`` x ``stride`` cell."""
        if self.valid is None:
            height, width = self.forged.shape
            forged = cell_counts(self.forged, stride)
            return forged, cell_areas(height, width, stride) - forged
        forged = cell_counts(self.forged & self.valid, stride)
        return forged, cell_counts(self.valid, stride) - forged


def evaluate_shard(
    report: pa.Table,
    maps: pa.Table,
    truth: Mapping[str, ManifestRow],
    border: Border = "count",
) -> pa.Table:
    """Records of a committed shard in the schema ``RECORDS``, in the order of the report.

    Args:
        report: all columns of the shard's report.
        maps: the shard's maps.
        truth: by image_id; what a row says here wins over the report.
        border: how pixels along the border of a mask count.

    Masks are read by their URI. What is wrong with a mask or a map becomes the record's
    ``problem``; a store that is away raises `StorageError`.
    """
    detectors = [field.name for field in report.schema if pa.types.is_struct(field.type)]
    pictures: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for item in maps.to_pylist():
        pictures[item["image_id"], item["detector"]].append(item)
    records: list[dict[str, Any]] = []
    for row in report.to_pylist():
        row |= _known(truth.get(row["image_id"]))
        target: Target | None = None  # a mask is read once, and only if it is needed
        for name in detectors:
            record = _record(row, name)
            found = pictures[row["image_id"], name]
            if record["status"] == Status.OK and found and row["label"] in (FORGED, PRISTINE):
                try:
                    if row["label"] == PRISTINE:
                        record |= _false_alarm(row, found)
                    elif row["mask_uri"] is not None:
                        size = row["height"], row["width"]
                        target = target or read_target(row["mask_uri"], *size, border)
                        record |= _pixels(target, found)
                except Problem as problem:
                    record["problem"] = str(problem)
            records.append(record)
    return pa.Table.from_pylist(records, schema=RECORDS)


def evaluate_committed(
    run: Run, shard: int, truth: Mapping[str, ManifestRow], border: Border = "count"
) -> pa.Table | str:
    """The records of a run's shard, or the message why there are none.

    For callers in another process: an error raised there would arrive wrapped in its traceback.
    """
    try:
        return evaluate_shard(run.report(shard), run.maps(shard), truth, border)
    except UserError as error:
        return str(error)


def read_mask(uri: str, height: int, width: int) -> NDArray[np.bool_]:
    """Where the mask marks its image as forged: a sample above 127; bool (height, width).

    Raises `Problem` for a mask that is absent, damaged or of another size than its image.
    """
    try:
        data = storage.read(uri)
        header = probe(data)
        if (header.height, header.width) != (height, width):
            raise Problem(
                f"mask {uri} has {header.width}x{header.height} pixels, the image has "
                f"{width}x{height}"
            )
        pixels = decode(data, max_megapixels=max(1.0, height * width / 1e6)).pixels
    except storage.Unavailable:
        raise
    except (UserError, Unreadable) as error:
        raise Problem(f"mask {uri}: {error}") from error
    return np.asarray(pixels.max(axis=2) > 127)


def read_target(uri: str, height: int, width: int, border: Border) -> Target:
    """Where a forged image of that size is forged. Raises `Problem` where the mask cannot say."""
    forged = read_mask(uri, height, width)
    if not forged.any():
        raise Problem(f"mask {uri} marks no pixel (none is above 127), but the image is forged")
    if border == "count":
        return Target(forged)
    valid = away_from_border(forged)
    if not (forged & valid).any():
        raise Problem(f"mask {uri} is too narrow: border=trufor leaves no forged pixel")
    return Target(forged, valid)


def _known(row: ManifestRow | None) -> dict[str, str]:
    """What a row of the truth says; what it leaves open stays as in the report."""
    names = ("label", "mask_uri", "source", "camera_id")
    return {name: value for name in names if (value := getattr(row, name, None)) is not None}


def _record(row: Mapping[str, Any], detector: str) -> dict[str, Any]:
    found = row[detector] or {"status": row["status"], "reason": row["reason"]}
    rank = found.get("rank")
    taken = ("status", "reason", "score", "decision", "best_camera", "pce")
    return {
        **{name: row[name] for name in ("image_id", "label", "source", "camera_id")},
        **{name: found.get(name) for name in taken},
        "detector": detector,
        "ranked": None if rank is None else [match["camera_id"] for match in rank],
    }


def _pixels(target: Target, found: list[dict[str, Any]]) -> dict[str, Any]:
    """Measures of one detector's maps of a forged image."""
    measures: dict[str, Any] = {"tampered_fraction": float(target.forged.mean())}
    for item in map(_decoded, found):
        if item.kind == "probability":
            counts = target.tally(item)
            best, threshold = counts.f1_best()
            measures |= {
                "f1_best": best,
                "best_threshold": threshold,
                "pixel_auc": _number(counts.auc()),
                "f1_curve": counts.f1_curve(THRESHOLDS).tolist(),
            }
        elif item.kind == "decision":
            confusion = target.tally(item).confusion(0.5)
            measures |= {
                "f1_decision": confusion.f1,
                "iou": confusion.iou,
                "mcc": confusion.mcc,
            }
    return measures


def _false_alarm(row: Mapping[str, Any], found: list[dict[str, Any]]) -> dict[str, Any]:
    """The decision map of a pristine image."""
    measures: dict[str, Any] = {"tampered_fraction": 0.0}
    for item in map(_decoded, found):
        if item.kind == "decision":
            areas = cell_areas(row["height"], row["width"], item.stride)
            _check_shape(item, areas.shape)
            measures["false_alarm_area"] = int(areas[item.values].sum()) / int(areas.sum())
    return measures


def _decoded(item: Mapping[str, Any]) -> Map:
    try:
        return decode_map(item["png"], item["kind"], item["stride"])
    except ValueError as error:
        raise Problem(str(error)) from error


def _check_shape(item: Map, shape: tuple[int, ...]) -> None:
    if item.values.shape != shape:
        raise Problem(
            f"the {item.kind} map has {item.values.shape} cells of {item.stride} pixels, the image "
            f"needs {shape}"
        )


def _number(value: float) -> float | None:
    return None if np.isnan(value) else value
