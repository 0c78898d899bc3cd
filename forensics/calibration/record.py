"""The calibration as a file: what pristine images scored, the thresholds, and for what they hold.

Light enough for the workers of a scan, which mark every report row by it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from forensics import storage
from forensics.config import Settings, digest
from forensics.records import UserError

FORMAT: Literal[1] = 1
_MOST_BYTES = 64 * 2**20
_FREE = ("weights", "checkpoint")  # where a file lies; what it holds is in the detector's identity
_CODE = "versions.source"


class DetectorCalibration(Settings):
    """Pristine scores of one detector, and its part of the budget."""

    holds_for: dict[str, Any] = Field(description="inputs of the scan that the scores depend on")
    pristine: int = Field(ge=1, description="images with a score: what all shares are of")
    abstained: int = Field(ge=0, description="images that the detector could not judge")
    failed: int = Field(ge=0, description="images that it or the whole scan failed on")
    rate: float = Field(gt=0, lt=1, description="its part of the budget, of the images it scores")
    rank: int = Field(ge=1, description="of the threshold among the pristine scores, from the top")
    threshold: float = Field(allow_inf_nan=False, description="an image above it is flagged")
    rate_low: float = Field(ge=0, le=1, description="interval of the true rate of false alarms")
    rate_high: float = Field(ge=0, le=1)
    scores: tuple[float, ...] = Field(min_length=1, description="pristine scores, highest first")
    above: tuple[int, ...] = Field(description="images above each of them")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        falling = all(a > b for a, b in zip(self.scores, self.scores[1:], strict=False))
        rising = all(a < b for a, b in zip(self.above, self.above[1:], strict=False))
        if not (falling and rising and len(self.above) == len(self.scores)):
            raise ValueError("scores must fall and the counts above them rise, one for each")
        if self.above[0] != 0 or self.above[-1] >= self.pristine or self.rank > self.pristine:
            raise ValueError("counts and rank must be within the number of pristine images")
        if self.threshold not in self.scores:
            raise ValueError("the threshold must be one of the scores")
        return self

    @property
    def above_threshold(self) -> int:
        """Pristine images above the threshold: rank - 1, fewer where scores repeat at it."""
        return self.above[self.scores.index(self.threshold)]

    def pristine_higher(self, score: float) -> float:
        """Share of pristine images that score at least as high, the image itself counted as one.

        So it is never 0, and for a pristine image at most p with a probability of at most p: a
        conformal p-value (Vovk, Gammerman, Shafer 2005, doi:10.1007/b106715).
        """
        place = bisect_right(self.scores, -score, key=lambda known: -known)
        as_high = self.above[place] if place < len(self.scores) else self.pristine
        return (1 + as_high) / (self.pristine + 1)


class Calibration(Settings):
    """Thresholds of several detectors that share one budget of false alarms.

    Each of D detectors has a D-th part of ``rate``, so that at most ``rate`` of the pristine images
    are flagged by any of them, however alike they judge.
    """

    format: Literal[1] = FORMAT
    rate: float = Field(gt=0, lt=1, description="budget: share of pristine images that are flagged")
    confidence: float = Field(gt=0, lt=1, description="of all intervals")
    run: str = Field(description="digest of the run over pristine images")
    images: int = Field(description="its images that count")
    copies: int = Field(description="its images left out because they repeat another one")
    learned: int | None = Field(
        description="those left out because a camera model was made from them; null: not checked"
    )
    versions: dict[str, str] = Field(description="of the code and libraries that gave the scores")
    detectors: dict[str, DetectorCalibration] = Field(min_length=1)

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the content."""
        return digest(self)

    def marked(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """A report record with ``pristine_higher`` and ``flagged`` where a detector has a score."""
        marks = {}
        for name, known in self.detectors.items():
            finding = record.get(name)
            if finding is not None and finding["score"] is not None:
                score = finding["score"]
                marks[name] = {
                    **finding,
                    "pristine_higher": known.pristine_higher(score),
                    "flagged": score > known.threshold,
                }
        return {**record, **marks}

    def check(self, inputs: Mapping[str, Any]) -> None:
        """Raise `UserError`, naming the differences, unless it holds for a scan of these inputs."""
        shared = [name for name in self.detectors if f"detectors.{name}" in inputs]
        if not shared:
            raise UserError(
                f"the calibration is of {', '.join(self.detectors)}, which this scan does not run"
            )
        lines = []
        for name in shared:
            then, now = self.detectors[name].holds_for, dependencies(name, inputs)
            for key in sorted(then.keys() | now.keys()):
                if then.get(key) != now.get(key):
                    lines.append(f"  {key}: {then.get(key)!r} then, {now.get(key)!r} now")
        if lines:
            raise UserError(
                "\n".join(
                    [
                        "the calibration was made by other detectors; its thresholds do not hold:",
                        *dict.fromkeys(lines),
                        "Scan the pristine images again with these settings and run "
                        "jobs.calibrate, or set them back.",
                    ]
                )
            )


def dependencies(detector: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """What a detector's scores depend on, out of the inputs of a run: weights, settings, code."""
    section = f"settings.{detector}."
    own = {
        key: value
        for key, value in inputs.items()
        if key.startswith(section) and key.removeprefix(section) not in _FREE
    }
    names = (f"detectors.{detector}", _CODE)
    return {**{name: inputs[name] for name in names if name in inputs}, **own}


def load_calibration(uri: str) -> Calibration:
    """The calibration in a file of `jobs.calibrate`. Raises `UserError` if it is none."""
    try:
        return Calibration.model_validate_json(storage.read(uri, _MOST_BYTES))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UserError(
            f"{uri} is no calibration ({where}: {first['msg']}); jobs.calibrate makes one"
        ) from None
