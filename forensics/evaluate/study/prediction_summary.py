"""Records of a prediction study to its numbers: adjusted R² per camera and predictor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from forensics.evaluate.metrics import adjusted_r2
from forensics.evaluate.study import statistics
from forensics.evaluate.study.outcomes import outcomes, shown
from forensics.evaluate.study.settings import Variant, names, neighbours
from forensics.evaluate.summary import NOT_GIVEN
from forensics.prnu.features import DESIGN_TERMS
from forensics.prnu.regression import image_gain
from forensics.prnu.saturation import SATURATED
from forensics.records import Status

AVERAGE = "average"
TERMS = DESIGN_TERMS - 1
"""Regressors that adjusted R² accounts for: those of least squares, for every predictor."""

MEASURES = ("r2", "r2_unsaturated", "r2_at_gain", "r2_at_gain_unsaturated")
_AXES = ("predictor", "jpeg_quality", "retrained")
TABLE = pa.schema(
    [
        ("camera_id", pa.string()),  # or average: the mean of the cameras
        ("variant", pa.string()),
        ("predictor", pa.string()),
        ("jpeg_quality", pa.int32()),
        ("retrained", pa.bool_()),
        ("images", pa.int64()),
        ("blocks", pa.int64()),
        *((name, pa.float64()) for name in MEASURES),
        ("low", pa.float64()),  # 95 % interval of r2 over images
        ("high", pa.float64()),
    ]
)


def summarise(records: pa.Table, seed: int = 0) -> dict[str, Any]:
    """Summary of all records (schema ``prediction.RECORDS``), ready for JSON.

    - ``variants``: in the order of the study, each with its axes, ``status`` (photos per status),
      ``reasons`` (why photos were not judged), ``judged`` (photos that were); per camera and
      averaged over cameras: adjusted R² (``r2``), the same without saturated blocks (S ≥ 0.7), and
      with predictions scaled to the gain of each photo, as the detector scales them
      (``r2_at_gain``).
    - ``pairs``: for variants that differ in one axis, the difference of ``r2`` per camera, and on
      how many cameras the first is better.
    """
    parts = {
        Variant(predictor=key[0], jpeg_quality=key[1], retrained=key[2]): rows
        for key, rows in statistics.groups(records, _AXES).items()
    }
    called = names(list(parts))
    variants = []
    r2: dict[Variant, dict[str, float]] = {}
    for variant, rows in parts.items():
        own = records.take(pa.array(rows))
        ok = own.filter(pc.equal(own["status"], str(Status.OK)))
        cameras = {
            camera_id or NOT_GIVEN: _camera(ok.take(pa.array(mine)), seed)
            for (camera_id,), mine in statistics.groups(ok, ("camera_id",)).items()
        }
        r2[variant] = {c: found["r2"] for c, found in cameras.items() if found["r2"] is not None}
        variants.append(
            {
                "name": called[variant],
                **{axis: getattr(variant, axis) for axis in _AXES},
                **outcomes(own),
                "judged": sum(found["images"] for found in cameras.values()),
                "cameras": dict(sorted(cameras.items())),
                AVERAGE: {
                    name: statistics.spread(
                        [c[name] for c in cameras.values() if c[name] is not None]
                    )
                    for name in MEASURES
                },
            }
        )
    pairs = [
        {"a": called[a], "b": called[b], **_difference(r2[a], r2[b])}
        for a, b in neighbours(list(parts))
    ]
    return {"variants": variants, "pairs": pairs}


def table(summary: Mapping[str, Any]) -> pa.Table:
    """Adjusted R² per variant and camera, and averaged over cameras (schema ``TABLE``)."""
    rows = []
    for variant in summary["variants"]:
        known = {"variant": variant["name"], **{axis: variant[axis] for axis in _AXES}}
        for camera, found in variant["cameras"].items():
            low, high = found["interval"] or (None, None)
            rows.append({"camera_id": camera, **known, **found, "low": low, "high": high})
        counts = {
            name: sum(found[name] for found in variant["cameras"].values())
            for name in ("images", "blocks")
        }
        means = {name: variant[AVERAGE][name]["mean"] for name in MEASURES}
        rows.append({"camera_id": AVERAGE, **known, **counts, **means})
    fields = [{name: row.get(name) for name in TABLE.names} for row in rows]
    return pa.Table.from_pylist(fields, schema=TABLE)


def lines(summary: Mapping[str, Any]) -> Iterator[str]:
    """The summary for people: adjusted R², and in brackets without saturated blocks."""
    variants = summary["variants"]
    cameras = sorted({camera for variant in variants for camera in variant["cameras"]})
    width = max([len("adjusted R²"), *map(len, cameras)])
    column = max([15, *(len(variant["name"]) + 2 for variant in variants)])
    yield f"{'adjusted R²':<{width}}" + "".join(f"{v['name']:>{column}}" for v in variants)
    for camera in cameras:
        cells = [_cell(variant["cameras"].get(camera)) for variant in variants]
        yield f"{camera:<{width}}" + "".join(f"{cell:>{column}}" for cell in cells)
    for name, field in (("average", "mean"), ("sd", "sd")):
        cells = [_cell({m: v[AVERAGE][m][field] for m in MEASURES}) for v in variants]
        yield f"{name:<{width}}" + "".join(f"{cell:>{column}}" for cell in cells)
    yield "(in brackets: without saturated blocks)"
    for pair in summary["pairs"]:
        if pair["n"]:
            yield (
                f"{pair['a']} over {pair['b']}: {pair['difference']:+.3f} on average, better on "
                f"{pair['better']} of {pair['n']} cameras"
            )


def at_gain(
    image_ids: Sequence[str], rho: NDArray[np.float32], rho_hat: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Predictions scaled to the gain of each image; arrays (n,)."""
    scaled = rho_hat.copy()
    _, where = np.unique(np.asarray(image_ids), return_inverse=True)
    for number in range(int(where.max(initial=-1)) + 1):
        own = where == number
        scaled[own] *= np.float32(image_gain(rho[own], rho_hat[own]))
    return scaled


def _camera(records: pa.Table, seed: int) -> dict[str, Any]:
    image_ids = records["image_id"].to_pylist()
    rho, rho_hat, saturation = (
        records[name].to_numpy().astype(np.float32) for name in ("rho", "rho_hat", "saturation")
    )
    scaled = at_gain(image_ids, rho, rho_hat)
    clear = saturation < SATURATED
    return {
        "images": len(set(image_ids)),
        "blocks": len(rho),
        "saturated": float(1 - clear.mean()),
        "r2": _r2(rho, rho_hat),
        "r2_unsaturated": _r2(rho[clear], rho_hat[clear]),
        "r2_at_gain": _r2(rho, scaled),
        "r2_at_gain_unsaturated": _r2(rho[clear], scaled[clear]),
        "interval": _r2_interval(image_ids, rho, rho_hat, seed),
    }


def _r2(rho: NDArray[np.float32], rho_hat: NDArray[np.float32]) -> float | None:
    if len(rho) < TERMS + 2:
        return None
    found = adjusted_r2(rho, rho_hat, TERMS)
    return found if np.isfinite(found) else None


def _r2_interval(
    image_ids: Sequence[str], rho: NDArray[np.float32], rho_hat: NDArray[np.float32], seed: int
) -> tuple[float, float] | None:
    """95 % interval of adjusted R² when images are drawn anew: from sums per image."""
    _, where = np.unique(np.asarray(image_ids), return_inverse=True)
    y, error = rho.astype(np.float64), np.square(rho.astype(np.float64) - rho_hat)
    quantities = (np.ones_like(y), y, y * y, error)
    sums = np.stack([np.bincount(where, weights=q) for q in quantities], axis=1, dtype=np.float64)

    def measure(totals: NDArray[np.float64]) -> NDArray[np.float64]:
        n, total, squares, unexplained = totals.T
        spread = np.maximum(squares - total**2 / n, np.finfo(float).tiny)
        r2: NDArray[np.float64] = 1 - unexplained / spread * (n - 1) / np.maximum(n - TERMS - 1, 1)
        return r2

    return statistics.interval(sums, measure, seed)


def _difference(a: Mapping[str, float], b: Mapping[str, float]) -> dict[str, Any]:
    both = sorted(a.keys() & b.keys())
    differences = [a[camera] - b[camera] for camera in both]
    found = statistics.spread(differences)
    return {
        "n": len(both),
        "difference": found["mean"],
        "sd": found["sd"],
        "better": sum(difference > 0 for difference in differences),
    }


def _cell(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return "-----"
    return f"{shown(found['r2'])} ({shown(found['r2_unsaturated'])})"
