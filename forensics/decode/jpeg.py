"""JPEG quality from the quantisation tables that a file carries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

# ITU-T T.81 (JPEG), Annex K.1: tables K.1 (luminance) and K.2 (chrominance), row by row.
_LUMINANCE: Final = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMINANCE: Final = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    (99, 99, 99, 99, 99, 99, 99, 99),
    (99, 99, 99, 99, 99, 99, 99, 99),
    (99, 99, 99, 99, 99, 99, 99, 99),
    (99, 99, 99, 99, 99, 99, 99, 99),
)


def standard_tables(quality: int) -> NDArray[np.int64]:
    """The luminance and chrominance tables that the IJG library uses at ``quality`` (1..100).

    int64, shape (2, 64), row by row (not zigzag), 1..255: the tables of T.81 Annex K scaled as in
    ``jpeg_quality_scaling`` and ``jpeg_add_quant_table`` of the IJG library, baseline limits.
    """
    if not 1 <= quality <= 100:
        raise ValueError(f"JPEG quality must be 1..100, got {quality}")
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    base = np.array([_LUMINANCE, _CHROMINANCE], dtype=np.int64).reshape(2, 64)
    return np.clip((base * scale + 50) // 100, 1, 255)


_LOG_STANDARD: Final[NDArray[np.float64]] = np.log(
    np.stack([standard_tables(quality) for quality in range(1, 101)])
)  # (100, 2, 64)


def estimate_quality(luminance: Sequence[int], chrominance: Sequence[int] | None = None) -> int:
    """The IJG quality, 1..100, whose standard tables come nearest to these.

    Exact for files written with the standard tables. For other tables (Photoshop, most cameras) it
    is the quality of similar strength: the smallest sum of absolute log ratios over all entries, so
    that a table twice as coarse is as far away as one twice as fine.

    Args:
        luminance: the 64 entries of the first component's table, row by row (not zigzag).
        chrominance: the same for the second component; None for a grey image.
    """
    given = [luminance] if chrominance is None else [luminance, chrominance]
    tables = np.array(given, dtype=np.float64)
    if tables.shape[1:] != (64,):
        raise ValueError(f"a quantisation table has 64 entries, got {tables.shape[1:]}")
    logs = np.log(np.clip(tables, 1, 255))
    distance = np.abs(_LOG_STANDARD[:, : len(given)] - logs).sum(axis=(1, 2))
    return int(distance.argmin()) + 1
