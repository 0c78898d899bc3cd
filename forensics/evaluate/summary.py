"""Records of an evaluation to its summary: numbers per detector, kind of forgery and camera.

Every mean is over the images that have the measure and comes with their number ``n``; detectors
that abstain more often are judged on fewer images, so read it beside ``abstention_rate``. A number
that does not exist (no such image, one class absent) is None.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from forensics.evaluate.curves import roc
from forensics.evaluate.metrics import auc, balanced_accuracy
from forensics.evaluate.scan import THRESHOLDS
from forensics.records import FORGED, PRISTINE, Status

PIXEL_MEASURES = ("f1_best", "f1_decision", "iou", "mcc", "pixel_auc")
GROUPS = ("source", "camera_id")
NOT_GIVEN = "(not given)"

_ROC_POINTS = 500
_WORST = 15
_PROBLEMS = 20


def summarise(records: pa.Table) -> dict[str, Any]:
    """Summary of all records (schema ``scan.RECORDS``), ready for JSON.

    ``labels``: images per label. ``problems``: how many records could not be compared, and the
    first of them. ``detectors``: by name, see ``summarise_detector``.
    """
    names = pc.unique(records["detector"]).to_pylist()
    parts = {name: records.filter(pc.equal(records["detector"], name)) for name in names}
    labels = _counts(parts[names[0]]["label"]) if names else {}
    bad = records.filter(pc.is_valid(records["problem"]))
    examples = bad.slice(0, _PROBLEMS).select(["image_id", "detector", "problem"])
    return {
        "images": sum(labels.values()),
        "labels": labels,
        "problems": {"count": bad.num_rows, "examples": examples.to_pylist()},
        "detectors": {name: summarise_detector(part) for name, part in parts.items()},
    }


def summarise_detector(records: pa.Table) -> dict[str, Any]:
    """Summary of one detector's records.

    - ``status``: images per status, for every label.
    - ``abstention_rate``: abstained of those that answered or abstained.
    - ``image``: scores and decisions of forged against pristine images (``None`` without score).
    - ``pixel``: mean of every measure over the forged images with a mask: overall, by kind
      (``source``) and by camera (``camera_id``).
    - ``f1_curve``: F1 averaged over images at 24 thresholds, and its maximum.
    - ``false_alarm_area``: share of a pristine image decided as tampered; the worst are named.
    - ``identification``: named camera against the true one, for a detector that ranks cameras.
    """
    labels = [label or NOT_GIVEN for label in records["label"].to_pylist()]
    status: dict[str, Counter[str]] = defaultdict(Counter)
    for label, outcome in zip(labels, records["status"].to_pylist(), strict=True):
        status[label][outcome] += 1
    total = sum(status.values(), Counter())
    abstained, answered = total[Status.NOT_APPLICABLE], total[Status.OK]
    ok = records.filter(pc.equal(records["status"], str(Status.OK)))
    return {
        "status": {label: dict(sorted(counts.items())) for label, counts in sorted(status.items())},
        "abstention_rate": _ratio(abstained, abstained + answered),
        "image": _image_level(ok),
        "pixel": {name: _pixel(records, name) for name in PIXEL_MEASURES},
        "f1_curve": _f1_curve(records),
        "false_alarm_area": _false_alarms(records),
        "identification": _identification(records),
    }


def pixel_rows(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The ``pixel`` numbers of every detector as rows: detector, images, n, and each measure.

    ``images`` is ``all``, ``kind <source>`` or ``camera <camera_id>``; ``n`` is that of the measure
    which most images have. Detectors without maps have no rows.
    """
    rows = []
    for detector, found in summary["detectors"].items():
        pixel = found["pixel"]
        groups = [("all", {name: pixel[name] for name in PIXEL_MEASURES})]
        for group, title in (("source", "kind"), ("camera_id", "camera")):
            keys = sorted({key for name in PIXEL_MEASURES for key in pixel[name][group]})
            groups += [
                (f"{title} {key}", {name: pixel[name][group].get(key) for name in PIXEL_MEASURES})
                for key in keys
            ]
        for images, measures in groups:
            n = max(found["n"] if found else 0 for found in measures.values())
            means = {name: found["mean"] if found else None for name, found in measures.items()}
            if n:
                rows.append({"detector": detector, "images": images, "n": n, **means})
    return rows


def _image_level(ok: pa.Table) -> dict[str, Any]:
    """Measures of score and decision on the images that were answered and whose truth is known.

    The best threshold is chosen with the truth at hand: an upper bound for any fixed one.
    """
    labelled = ok.filter(pc.is_in(ok["label"], pa.array([FORGED, PRISTINE])))
    scored = labelled.filter(pc.is_valid(labelled["score"]))
    decided = labelled.filter(pc.is_valid(labelled["decision"]))
    scores, truth = _floats(scored["score"]), _forged(scored)
    decisions = decided["decision"].to_numpy().astype(np.float64)
    result: dict[str, Any] = {
        "forged": int(truth.sum()),
        "pristine": int((~truth).sum()),
        "auc": _number(auc(scores, truth)),
        "balanced_accuracy_decision": _number(balanced_accuracy(decisions, _forged(decided))),
        "balanced_accuracy_best": None,
        "best_threshold": None,
        "roc": None,
    }
    if truth.any() and not truth.all():
        curve = roc(scores, truth)
        balanced = (curve.tpr + 1 - curve.fpr) / 2
        best = int(np.argmax(balanced))
        points = len(curve.fpr)
        shown = np.unique(np.linspace(0, points - 1, min(points, _ROC_POINTS)).round().astype(int))
        result |= {
            "balanced_accuracy_best": float(balanced[best]),
            "best_threshold": _number(float(curve.thresholds[best])),
            "roc": {"fpr": curve.fpr[shown].tolist(), "tpr": curve.tpr[shown].tolist()},
        }
    return result


def _pixel(records: pa.Table, name: str) -> dict[str, Any]:
    measured = records.filter(pc.is_valid(records[name]))
    values = _floats(measured[name])
    groups: dict[str, Any] = {}
    for group in GROUPS:
        members: dict[str, list[float]] = defaultdict(list)
        for key, value in zip(measured[group].to_pylist(), values, strict=True):
            members[NOT_GIVEN if key is None else key].append(value)
        groups[group] = {key: _mean(members[key]) for key in sorted(members)}
    return {**_mean(values), **groups}


def _f1_curve(records: pa.Table) -> dict[str, Any] | None:
    curves = records["f1_curve"].drop_null()
    if not len(curves):
        return None
    mean = pc.list_flatten(curves).to_numpy().reshape(len(curves), THRESHOLDS.size).mean(axis=0)
    best = int(np.argmax(mean))
    return {
        "n": len(curves),
        "thresholds": THRESHOLDS.tolist(),
        "f1": mean.tolist(),
        "max": float(mean[best]),
        "best_threshold": float(THRESHOLDS[best]),
    }


def _false_alarms(records: pa.Table) -> dict[str, Any]:
    measured = records.filter(pc.is_valid(records["false_alarm_area"]))
    areas = _floats(measured["false_alarm_area"])
    worst = [i for i in np.argsort(-areas, kind="stable")[:_WORST] if areas[i] > 0]
    return {
        **_mean(areas),
        "max": float(areas.max()) if areas.size else None,
        "worst": {measured["image_id"][int(i)].as_py(): float(areas[i]) for i in worst},
    }


def _identification(records: pa.Table) -> dict[str, Any] | None:
    """Named camera against the true one, over the images whose camera the truth tells.

    A camera is known if any rank list has it. Of a known camera's images, naming it is ``correct``
    and another is ``wrong``; those of an unknown one should be abstained from.
    """
    ranked = records["ranked"].drop_null()
    if not len(ranked):
        return None
    known = set(pc.list_flatten(ranked).to_pylist())
    asked = records.filter(
        pc.and_(
            pc.is_valid(records["camera_id"]),
            pc.is_in(records["status"], pa.array([str(Status.OK), str(Status.NOT_APPLICABLE)])),
        )
    )
    confusion: dict[str, Counter[str]] = defaultdict(Counter)
    counts: Counter[str] = Counter()
    pairs = zip(asked["camera_id"].to_pylist(), asked["best_camera"].to_pylist(), strict=True)
    for true, named in pairs:
        confusion[true][named or "(abstained)"] += 1
        outcome = "abstained" if named is None else "right" if named == true else "wrong"
        counts[f"{'known' if true in known else 'unknown'}_{outcome}"] += 1
    right, wrong = counts["known_right"], counts["known_wrong"] + counts["unknown_wrong"]
    return {
        "n": asked.num_rows,
        "answered": right + wrong,
        "correct": right,
        "accuracy": _ratio(right, right + wrong),
        "known_cameras": {
            "correct": right,
            "wrong": counts["known_wrong"],
            "abstained": counts["known_abstained"],
        },
        "unknown_cameras": {
            "named": counts["unknown_wrong"],
            "abstained": counts["unknown_abstained"],
        },
        "confusion": {true: dict(sorted(row.items())) for true, row in sorted(confusion.items())},
    }


def _forged(records: pa.Table) -> NDArray[np.bool_]:
    return np.array([label == FORGED for label in records["label"].to_pylist()], dtype=np.bool_)


def _floats(column: pa.ChunkedArray) -> NDArray[np.float64]:
    return np.asarray(column.to_numpy(), dtype=np.float64)


def _counts(column: pa.ChunkedArray) -> dict[str, int]:
    counts = Counter(NOT_GIVEN if value is None else value for value in column.to_pylist())
    return dict(sorted(counts.items()))


def _mean(values: Iterable[float]) -> dict[str, Any]:
    array = np.asarray(values, dtype=np.float64)
    return {"n": array.size, "mean": float(array.mean()) if array.size else None}


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _number(value: float) -> float | None:
    return value if np.isfinite(value) else None
