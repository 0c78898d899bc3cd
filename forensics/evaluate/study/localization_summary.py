"""Records of a localization study to its numbers: F1 over the threshold, ROC, comparisons.

Every mean is over images, as in equation 10 of the CNN-predictor paper. Variants that abstain more
often are judged on fewer images: read ``n`` beside their numbers, and trust the pairs, which
compare the same images.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from forensics.evaluate.scan import THRESHOLDS
from forensics.evaluate.study import statistics
from forensics.evaluate.study.outcomes import outcomes, shown
from forensics.evaluate.study.settings import AXES, Variant, names, neighbours
from forensics.evaluate.summary import NOT_GIVEN
from forensics.records import FORGED, PRISTINE, Status

Floats = NDArray[np.float64]

ALL = "all"
TABLE = pa.schema(
    [
        ("camera_id", pa.string()),  # or all: over all images, not the mean of the cameras
        ("variant", pa.string()),
        ("predictor", pa.string()),
        ("strategy", pa.string()),
        ("decision", pa.string()),
        ("jpeg_quality", pa.int32()),
        ("retrained", pa.bool_()),
        ("n", pa.int64()),
        ("f1_max", pa.float64()),
        ("tau", pa.float64()),
        ("low", pa.float64()),  # 95 % interval of f1_max over images
        ("high", pa.float64()),
    ]
)


@dataclass(frozen=True, eq=False)
class _Counts:
    """Rates of the images that one variant judged: float64 (n, T) each."""

    image_ids: list[str]
    cameras: list[str]
    f1: Floats
    tpr: Floats
    fpr: Floats

    @classmethod
    def of(cls, records: pa.Table) -> _Counts:
        """From all the rows of these images, in blocks of one row per threshold."""
        first = records.take(pa.array(np.arange(0, records.num_rows, THRESHOLDS.size)))
        tp, fp, fn, tn = (
            records[name].to_numpy().astype(np.float64).reshape(-1, THRESHOLDS.size)
            for name in ("tp", "fp", "fn", "tn")
        )
        cameras = [camera or NOT_GIVEN for camera in first["camera_id"].to_pylist()]
        return cls(
            image_ids=first["image_id"].to_pylist(),
            cameras=cameras,
            f1=2 * tp / np.maximum(2 * tp + fp + fn, 1),
            tpr=tp / np.maximum(tp + fn, 1),
            fpr=fp / np.maximum(fp + tn, 1),
        )

    @property
    def best(self) -> int:
        """Index of the threshold at which the average F1 is highest."""
        return int(np.argmax(self.f1.mean(axis=0)))


def summarise(records: pa.Table, seed: int = 0) -> dict[str, Any]:
    """Summary of all records (schema ``localization.RECORDS``), ready for JSON.

    - ``variants``: in the order of the study, each with its axes, ``status`` (images per status),
      ``reasons`` (why images were not judged), ``judged``
      (forged images that were), ``f1`` (average over forged images at
      ``THRESHOLDS``; its maximum with a 95 % bootstrap interval over images; the same per camera,
      and the spread of the cameras), ``roc`` (rates averaged over forged images),
      ``false_alarms`` (part of the pristine images that is decided as tampered), ``seconds``
      (median per image and threshold).
    - ``pairs``: for variants that differ in one axis, the mean difference of the F1 per image, each
      at its own best threshold, with its interval; over the images that both judged.
    """
    parts = {Variant(*key): rows for key, rows in statistics.groups(records, AXES).items()}
    called = names(list(parts))
    forged: dict[Variant, _Counts] = {}
    variants = []
    for variant, rows in parts.items():
        own = records.take(pa.array(rows))
        ok = own.filter(pc.equal(own["status"], str(Status.OK)))
        forged[variant] = _Counts.of(ok.filter(pc.equal(ok["label"], FORGED)))
        pristine = _Counts.of(ok.filter(pc.equal(ok["label"], PRISTINE)))
        seconds = ok["seconds"].to_numpy()
        variants.append(
            {
                "name": called[variant],
                **{axis: getattr(variant, axis) for axis in AXES},
                **outcomes(own),
                "judged": len(forged[variant].image_ids),
                "f1": _f1(forged[variant], seed),
                "roc": _roc(forged[variant]),
                "false_alarms": {
                    "n": len(pristine.image_ids),
                    "area": _mean(pristine.fpr),
                },
                "seconds": float(np.median(seconds)) if seconds.size else None,
            }
        )
    pairs = [
        {"a": called[a], "b": called[b], **_difference(forged[a], forged[b], seed)}
        for a, b in neighbours(list(parts))
    ]
    return {"thresholds": THRESHOLDS.tolist(), "variants": variants, "pairs": pairs}


def table(summary: Mapping[str, Any]) -> pa.Table:
    """Maximum of the average F1 per variant and camera, and over all images (schema ``TABLE``)."""
    rows = []
    for variant in summary["variants"]:
        axes = {axis: variant[axis] for axis in AXES}
        entries = {ALL: variant["f1"], **variant["f1"]["cameras"]}
        for camera, found in entries.items():
            numbers = {"n": found["n"], "f1_max": found["max"], "tau": found["tau"]}
            low, high = found["interval"] or (None, None)
            known = {"camera_id": camera, "variant": variant["name"], **axes}
            rows.append({**known, **numbers, "low": low, "high": high})
    return pa.Table.from_pylist(rows, schema=TABLE)


def lines(summary: Mapping[str, Any]) -> Iterator[str]:
    """The summary for people."""
    variants = summary["variants"]
    width = max([len("max average F1"), *(len(v["name"]) for v in variants)])
    yield f"{'max average F1':<{width}}    n     all   95 % interval     at  cameras (mean, sd)"
    for variant in variants:
        f1 = variant["f1"]
        low, high = f1["interval"] or (None, None)
        cameras = f1["spread"]
        yield (
            f"{variant['name']:<{width}} {f1['n']:4d}  {shown(f1['max'])}  {shown(low)} to "
            f"{shown(high)}  {shown(f1['tau'], 2)}  {shown(cameras['mean'])} "
            f"{shown(cameras['sd'])} ({cameras['n']})"
        )
    yield from _camera_lines(variants)
    for pair in summary["pairs"]:
        if pair["n"]:
            low, high = pair["interval"] or (None, None)
            yield (
                f"{pair['a']} over {pair['b']}: {pair['difference']:+.3f} "
                f"({shown(low)} to {shown(high)}, {pair['n']} images)"
            )


def _camera_lines(variants: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """One line per camera, one number per variant, numbered; the best is marked."""
    cameras = sorted({camera for v in variants for camera in v["f1"]["cameras"]})
    if not cameras or len(variants) < 2:
        return
    width = max(len("camera"), *map(len, cameras))
    for number, variant in enumerate(variants, 1):
        yield f"({number}) {variant['name']}"
    yield f"{'camera':<{width}} " + "".join(f"{f'({i + 1})':>9}" for i in range(len(variants)))
    for camera in cameras:
        found = [v["f1"]["cameras"].get(camera, {}).get("max") for v in variants]
        best = max((value for value in found if value is not None), default=None)
        cells = [shown(value) + ("*" if value == best else " ") for value in found]
        yield f"{camera:<{width}} " + "".join(f"{cell:>9}" for cell in cells)


def _f1(counts: _Counts, seed: int) -> dict[str, Any]:
    cameras = {}
    for camera in sorted(set(counts.cameras)):
        own = counts.f1[[other == camera for other in counts.cameras]]
        cameras[camera] = _maximum(own, seed)
    return {
        **_maximum(counts.f1, seed),
        "cameras": cameras,
        "spread": statistics.spread([found["max"] for found in cameras.values()]),
    }


def _maximum(f1: Floats, seed: int) -> dict[str, Any]:
    if not len(f1):
        return {"n": 0, "mean": None, "max": None, "tau": None, "interval": None}
    mean = f1.mean(axis=0)
    best = int(np.argmax(mean))
    return {
        "n": len(f1),
        "mean": mean.tolist(),
        "max": float(mean[best]),
        "tau": float(THRESHOLDS[best]),
        "interval": statistics.maximum_interval(f1, seed),
    }


def _roc(counts: _Counts) -> dict[str, Any]:
    """Rates averaged over images, of all and of each camera."""
    cameras = {}
    for camera in sorted(set(counts.cameras)):
        own = [other == camera for other in counts.cameras]
        cameras[camera] = {"fpr": _mean(counts.fpr[own]), "tpr": _mean(counts.tpr[own])}
    return {"fpr": _mean(counts.fpr), "tpr": _mean(counts.tpr), "cameras": cameras}


def _difference(a: _Counts, b: _Counts, seed: int) -> dict[str, Any]:
    places = {image_id: place for place, image_id in enumerate(b.image_ids)}
    both = [(i, places[image_id]) for i, image_id in enumerate(a.image_ids) if image_id in places]
    if not both:
        return {"n": 0, "difference": None, "interval": None}
    mine, theirs = np.array(both).T
    difference = a.f1[mine, a.best] - b.f1[theirs, b.best]
    return {
        "n": len(both),
        "difference": float(difference.mean()),
        "interval": statistics.mean_interval(difference, seed),
    }


def _mean(rates: Floats) -> list[float] | None:
    return rates.mean(axis=0).tolist() if len(rates) else None
