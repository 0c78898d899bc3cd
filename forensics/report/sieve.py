"""Which rows of a report may be among the worst of a run, told column by column.

Of a large run few rows get onto its page. Only these are made into records; the others are seen as
columns alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from forensics.calibration.record import Calibration
from forensics.report.page import worst_first

Floats = NDArray[np.float64]

_SLACK = 1000  # rows beyond those to be kept before the order is made again


class Sieve:
    """Lets through what may be among the ``keep`` worst rows, by `worst_first`.

    ``calibration`` marks the rows as `Calibration.marked` does. ``flagged`` counts the rows above
    a threshold, of all tables seen.
    """

    def __init__(
        self, keep: int, detectors: Sequence[str], calibration: Calibration | None = None
    ) -> None:
        self.flagged = 0
        self._keep, self._detectors, self._calibration = keep, detectors, calibration
        self._keys: list[tuple[float, bool, float, int, str]] = []
        self._last: tuple[float, bool, float, int, str] | None = None

    def __call__(self, table: pa.Table) -> NDArray[np.int64]:
        """Positions in a report of the rows that nothing seen so far keeps off the page."""
        score, share, flagged = self._judged(table)
        self.flagged += int(flagged.sum())
        statuses, ids = table["status"].to_pylist(), table["image_id"]
        passed = np.flatnonzero(self._before_last(score, share, statuses, ids))
        names = ids.take(pa.array(passed)).to_pylist()
        for place, name in zip(passed, names, strict=True):
            key = worst_first(_known(score[place]), statuses[place], name, _known(share[place]))
            self._keys.append(key)
        if len(self._keys) > self._keep + _SLACK:
            self._keys = sorted(self._keys)[: self._keep]
            self._last = self._keys[-1]
        return passed

    def _before_last(
        self, score: Floats, share: Floats, statuses: Sequence[str], ids: pa.ChunkedArray
    ) -> NDArray[np.bool_]:
        """Which rows come before the last one that is kept."""
        if self._last is None:
            return np.ones(len(score), bool)
        least, unscored, lowest, attention, image_id = self._last
        ranks = {status: worst_first(None, status, "")[3] for status in set(statuses)}
        attended = np.array([ranks[status] for status in statuses], np.int64)
        named = pc.less(ids, image_id).to_numpy()
        columns = [
            (np.nan_to_num(share, nan=np.inf), least),
            (np.isnan(score), unscored),
            (-np.nan_to_num(score), lowest),
            (attended, attention),
        ]
        before: NDArray[np.bool_] = named
        for values, last in reversed(columns):
            before = (values < last) | ((values == last) & before)
        return before

    def _judged(self, table: pa.Table) -> tuple[Floats, Floats, NDArray[np.bool_]]:
        """Highest score, smallest share of pristine images (both nan: none) and flag of each row.

        As `build.row_score` and `build.row_marks` tell them of one record.
        """
        score, share = np.full((2, len(table)), np.nan)
        flagged = np.zeros(len(table), bool)
        for name in self._detectors:
            found = table[name].combine_chunks()
            own = _numbers(found, "score")
            higher, marked = _numbers(found, "pristine_higher"), _numbers(found, "flagged") == 1
            known = self._calibration and self._calibration.detectors.get(name)
            if known:
                scored = np.flatnonzero(~np.isnan(own))
                higher[scored] = [known.pristine_higher(value) for value in own[scored].tolist()]
                marked[scored] = own[scored] > known.threshold
            score, share = np.fmax(score, own), np.fmin(share, higher)
            flagged |= marked
        return score, share, flagged


def _numbers(found: pa.StructArray, name: str) -> Floats:
    """A column of a detector as float64, nan where there is none."""
    if found.type.get_field_index(name) < 0:
        return np.full(len(found), np.nan)
    column = pc.struct_field(found, name).cast(pa.float64())
    return np.array(column.to_numpy(zero_copy_only=False), np.float64)


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
