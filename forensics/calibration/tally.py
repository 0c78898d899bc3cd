"""What a calibrated scan flagged, and how many false alarms are to be expected in it."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

from forensics.calibration.rates import Estimate, false_alarms
from forensics.calibration.record import Calibration
from forensics.run import Run

UNCHECKED = (
    "; it was not checked whether camera models were made from the pristine images of the "
    "calibration: if so, there are more"
)


@dataclass(frozen=True, slots=True)
class Alarms:
    """Images with a score, those that are flagged, and those that would be if all were pristine."""

    scored: int
    flagged: int
    expected: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Flags:
    """The count of a scan, by detector and as a whole.

    As a whole ``expected`` is an upper bound where there are several detectors: an image flagged by
    two of them is one image. Forged images are no false alarms, so these numbers are for an archive
    that holds few of them; they are never too low for one that holds many.
    """

    images: Alarms
    detectors: dict[str, Alarms]
    unchecked: bool = False  # camera models may be made from the calibration's images

    def plain(self) -> dict[str, Any]:
        """As it stands in ``run.json``."""
        return {**asdict(self), "sentence": self.sentence()}

    def sentence(self) -> str:
        """The same for people."""
        found = self.images
        about = "at most about" if len(self.detectors) > 1 else "about"
        return (
            f"flagged {found.flagged} of {found.scored} images with a score; {about} "
            f"{found.expected:.3g} false alarms are expected if all are pristine "
            f"({found.low:.0f} to {found.high:.0f})" + (UNCHECKED if self.unchecked else "")
        )


def count_flags(run: Run, calibration: Calibration) -> Flags:
    """Judge the scores of all committed rows, one shard in memory at a time.

    The run need not have been marked by the calibration: its rows are read, not changed.
    """
    names = [name for name in run.findings if name in calibration.detectors]
    scored: Counter[str] = Counter()
    flagged: Counter[str] = Counter()
    images: Counter[str] = Counter()
    for _, table in run.reports([f"{name}.score" for name in names]):
        for row in table.to_pylist():
            scores = {name: row[name]["score"] for name in names if row[name] is not None}
            marks = {
                name: score > calibration.detectors[name].threshold
                for name, score in scores.items()
                if score is not None
            }
            scored.update(marks.keys())
            flagged.update(name for name, mark in marks.items() if mark)
            images["scored"] += bool(marks)
            images["flagged"] += any(marks.values())
    detectors = {
        name: Alarms(
            scored[name],
            flagged[name],
            *_expected(calibration, name, scored[name], calibration.confidence),
        )
        for name in names
    }
    whole = _together(calibration, detectors, images["scored"])
    alarms = Alarms(images["scored"], images["flagged"], *whole)
    return Flags(alarms, detectors, calibration.learned is None)


def _expected(calibration: Calibration, name: str, images: int, confidence: float) -> Estimate:
    known = calibration.detectors[name]
    return false_alarms(known.rank, known.pristine, known.above_threshold, images, confidence)


def _together(
    calibration: Calibration, detectors: dict[str, Alarms], images: int
) -> tuple[float, float, float]:
    """Images flagged by any detector: no fewer than by one of them, no more than by each alone.

    Each interval leaves out a part of what may be left out (Bonferroni), so that together they hold
    with the confidence asked for.
    """
    if not detectors:
        return 0.0, 0.0, 0.0
    confidence = 1 - (1 - calibration.confidence) / len(detectors)
    found = [_expected(calibration, n, a.scored, confidence) for n, a in detectors.items()]
    most = float(images)
    return (
        min(most, sum(e.expected for e in found)),
        max(e.low for e in found),
        min(most, sum(e.high for e in found)),
    )
