"""From a finished scan of pristine images to thresholds that keep to a rate of false alarms."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forensics import storage
from forensics.calibration.rates import exact, images_needed, rank, true_rate
from forensics.calibration.record import Calibration, DetectorCalibration, dependencies
from forensics.prnu.camera_model import CARD, read_card
from forensics.prnu.library import CameraLibrary
from forensics.records import FORGED, Status, UserError
from forensics.run import Run, load_document

KNOTS = 5000
"""Scores that are kept of a detector: all, or the highest ones and ever sparser ones below them."""


@dataclass
class Pristine:
    """What a scan of pristine images says of them."""

    images: int = 0
    copies: int = 0
    learned: int | None = 0  # None: not checked
    scores: dict[str, list[float]] = field(default_factory=dict)  # by detector
    outcomes: dict[str, Counter[str]] = field(default_factory=dict)  # scored, abstained, failed


def images_of_models(uri: str) -> set[str]:
    """SHA-256 of all images that the camera models below ``uri`` were made from."""
    used = set()
    for entry in CameraLibrary(uri):
        card = read_card(storage.read(storage.join(entry.folder, CARD)))
        used |= {image["sha256"] for part in ("reference", "training") for image in card[part]}
    return used


def collect(run: Run, learned: Set[str] | None = frozenset()) -> Pristine:
    """Scores of a finished scan, every image counted once.

    Args:
        run: of pristine images only.
        learned: SHA-256 of images that a detector learned from: it knows them, so they say nothing
            of images that it does not know, and are left out. None where they are not known.

    Raises:
        UserError: the scan is not complete, or one of its images is labelled forged.
    """
    state = load_document(run.uri)["state"]
    if state != "complete":
        raise UserError(f"{run.uri} is {state}: finish that scan first, by the same command")
    found = Pristine()
    for name in run.findings:
        found.scores[name], found.outcomes[name] = [], Counter()
    seen: set[str] = set()
    left_out = 0
    for row in _rows(run):
        if row["label"] == FORGED:
            raise UserError(
                f"{run.uri}: {row['image_id']!r} is labelled forged; a calibration wants a scan of "
                "pristine images alone"
            )
        sha256 = row["sha256"]
        if sha256 in seen:
            found.copies += 1
        elif learned is not None and sha256 in learned:
            left_out += 1
        else:
            found.images += 1
            _count(found, row)
        if sha256 is not None:
            seen.add(sha256)
    found.learned = None if learned is None else left_out
    return found


def calibrate(
    run: Run,
    found: Pristine,
    rate: float,
    confidence: float = 0.95,
    detectors: Sequence[str] | None = None,
) -> Calibration:
    """Thresholds of the detectors that give scores, at equal parts of the budget.

    Args:
        run: the scan that the scores are of.
        found: its scores.
        rate: share of pristine images that may be flagged, 0..1.
        confidence: of the interval of each detector's true rate.
        detectors: those that share the budget; all that gave a score if not given.

    Raises:
        UserError: a detector gave no scores, or too few for its part of the rate.
    """
    names = tuple(detectors) if detectors else tuple(n for n in run.findings if found.scores[n])
    lacking = [name for name in names if not found.scores.get(name)]
    if lacking or not names:
        have = ", ".join(name for name in run.findings if found.scores[name]) or "none does"
        raise UserError(
            f"{run.uri}: no pristine image has a score of {', '.join(lacking) or 'any detector'}; "
            f"detectors with scores: {have}{_left_out(found)}"
        )
    part = exact(rate) / len(names)
    _check_enough(run, found, names, part)
    document = load_document(run.uri)
    return Calibration(
        rate=rate,
        confidence=confidence,
        run=run.digest,
        images=found.images,
        copies=found.copies,
        learned=found.learned,
        versions=document["versions"],
        detectors={
            name: _detector(found, name, part, confidence, document["inputs"]) for name in names
        },
    )


def _rows(run: Run) -> Iterator[dict[str, Any]]:
    columns = ["image_id", "label", "sha256", "status"]
    columns += [f"{name}.{column}" for name in run.findings for column in ("status", "score")]
    for shard in sorted(run.committed()):
        yield from run.report(shard, columns).to_pylist()


def _count(found: Pristine, row: dict[str, Any]) -> None:
    for name, outcomes in found.outcomes.items():
        finding = row[name]
        if finding is not None and finding["score"] is not None:
            found.scores[name].append(finding["score"])
            outcomes["scored"] += 1
        elif finding is not None and finding["status"] in (Status.OK, Status.NOT_APPLICABLE):
            outcomes["abstained"] += 1
        else:
            outcomes["failed"] += 1


def _check_enough(run: Run, found: Pristine, names: Sequence[str], part: Fraction) -> None:
    needed = images_needed(part)
    few = {name: len(found.scores[name]) for name in names if len(found.scores[name]) < needed}
    if not few:
        return
    shared = f", shared by {len(names)} detectors ({', '.join(names)})" if len(names) > 1 else ""
    lowest = len(names) / (min(few.values()) + 1)
    advice = f"or choose a rate of {lowest:.2g} or more" if lowest < 1 else "no rate would do"
    have = ", ".join(f"{name} has {count}" for name, count in few.items())
    raise UserError(
        f"{run.uri}: too few pristine images for a rate of {float(part * len(names)):g}{shared}: "
        f"each detector needs {needed} images with a score, {have}. Scan more of them, {advice}"
        + ("; fewer detectors (setting detectors) need fewer images" if len(names) > 1 else "")
        + (_left_out(found) or ".")
    )


def _left_out(found: Pristine) -> str:
    """Images that could not count, and what to do about it; nothing where all did."""
    if found.learned:
        copies = f" (and {found.copies} as copies of others)" if found.copies else ""
        return (
            f". {found.learned} of the images were left out because the camera models were made "
            f"from them{copies}: scan pristine images that are in no camera model."
        )
    return f". {found.copies} of the images are copies of others." if found.copies else ""


def _detector(
    found: Pristine, name: str, part: Fraction, confidence: float, inputs: dict[str, Any]
) -> DetectorCalibration:
    scores = np.sort(np.array(found.scores[name], np.float64))[::-1]
    k = rank(part, len(scores))
    threshold = scores[k - 1]
    above = int((scores > threshold).sum())
    interval = true_rate(k, len(scores), above, confidence)
    values, counts = _knots(scores, float(threshold))
    return DetectorCalibration(
        holds_for=dependencies(name, inputs),
        pristine=len(scores),
        abstained=found.outcomes[name]["abstained"],
        failed=found.outcomes[name]["failed"],
        rate=float(part),
        rank=k,
        threshold=float(threshold),
        rate_low=interval.low,
        rate_high=interval.high,
        scores=tuple(values.tolist()),
        above=tuple(counts.tolist()),
    )


def _knots(
    scores: NDArray[np.float64], threshold: float
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Distinct scores, highest first, and how many are above each; at most about `KNOTS`.

    A score between two that were kept counts as the lower one: its share is never too small.
    """
    values, counts = np.unique(-scores, return_counts=True)
    above = np.cumsum(counts) - counts
    if len(values) > KNOTS:
        places = np.unique(np.geomspace(1, len(values), KNOTS).astype(np.int64) - 1)
        places = np.union1d(places, np.searchsorted(values, -threshold))
        values, above = values[places], above[places]
    return -values, above
