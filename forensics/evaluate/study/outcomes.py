"""What became of the images of a study, and numbers as people read them."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pyarrow as pa

from forensics.evaluate.study.statistics import groups


def outcomes(records: pa.Table) -> dict[str, dict[str, int]]:
    """Images per ``status``, and per reason (``reasons``) of those that were not judged."""
    status: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    found: list[tuple[Any, ...]] = list(groups(records, ("image_id", "status", "reason")))
    for _, outcome, reason in found:
        status[outcome] += 1
        if reason is not None:
            reasons[reason] += 1
    return {"status": dict(sorted(status.items())), "reasons": dict(reasons.most_common())}


def shown(value: float | None, digits: int = 3) -> str:
    """A number with that many decimals, or as many dashes."""
    return "-" * (digits + 2) if value is None else f"{value:.{digits}f}"
