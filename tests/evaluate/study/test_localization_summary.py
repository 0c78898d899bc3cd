"""F1, ROC and comparisons of hand-made counts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from forensics.evaluate.scan import THRESHOLDS
from forensics.evaluate.study.localization import RECORDS
from forensics.evaluate.study.localization_summary import lines, summarise, table

T = THRESHOLDS.size


def image(name: str, camera: str, predictor: str, tp: Any, fp: Any, **more: Any) -> list[Any]:
    """Rows of one image with 100 forged and 300 pristine pixels; tp and fp may differ by τ."""
    tps, fps = (np.broadcast_to(x, T).tolist() for x in (tp, fp))
    known = {
        "image_id": name,
        "camera_id": camera,
        "label": "forged",
        "predictor": predictor,
        "strategy": "sw-ss",
        "decision": "crf",
        "retrained": False,
        "seconds": 0.5,
        "status": "ok",
        **more,
    }
    return [
        {**known, "tau": tau, "tp": t, "fp": f, "fn": 100 - t, "tn": 300 - f}
        for tau, t, f in zip(THRESHOLDS.tolist(), tps, fps, strict=True)
    ]


def abstained(name: str, predictor: str, reason: str) -> dict[str, Any]:
    [row, *_] = image(name, "A", predictor, 0, 0)
    nothing = dict.fromkeys(("tau", "tp", "fp", "fn", "tn", "seconds"))
    return {**row, **nothing, "status": "not_applicable", "reason": reason}


def summary_of(rows: list[Any]) -> dict[str, Any]:
    return summarise(pa.Table.from_pylist(rows, schema=RECORDS))


STEP = np.where(np.arange(T) < 10, 100, 50)  # true positives, fewer from the tenth threshold on


def test_f1_is_averaged_over_images_before_its_maximum() -> None:
    rows = image("a", "A", "lse", STEP, 0) + image("b", "B", "lse", 100 - STEP // 2, 0)
    [variant] = summary_of(rows)["variants"]
    f1 = variant["f1"]
    early, late = (1 + 2 * 50 / 150) / 2, (2 * 50 / 150 + 2 * 75 / 175) / 2
    assert f1["mean"] == pytest.approx([early] * 10 + [late] * (T - 10))
    assert (f1["n"], f1["max"], f1["tau"]) == (2, pytest.approx(early), THRESHOLDS[0])
    assert f1["cameras"]["A"]["max"] == 1
    assert f1["cameras"]["B"]["max"] == pytest.approx(2 * 75 / 175)
    assert f1["cameras"]["B"]["tau"] == pytest.approx(THRESHOLDS[10])
    assert f1["cameras"]["A"]["interval"] is None
    assert f1["spread"]["mean"] == pytest.approx((1 + 2 * 75 / 175) / 2)
    assert f1["interval"] == pytest.approx((early, 1))  # half of the resamples have both images
    assert variant["judged"] == 2
    assert variant["seconds"] == 0.5


def test_rates_are_averaged_over_images_and_pristine_ones_stand_apart() -> None:
    rows = image("a", "A", "lse", 50, 30) + image("b", "A", "lse", 100, 0)
    rows += image("p", "A", "lse", 0, 60, label="pristine", fn=0)
    [variant] = summary_of(rows)["variants"]
    assert variant["roc"]["tpr"] == pytest.approx([0.75] * T)
    assert variant["roc"]["fpr"] == pytest.approx([0.05] * T)
    assert variant["roc"]["cameras"]["A"]["tpr"] == variant["roc"]["tpr"]
    assert variant["false_alarms"]["n"] == 1
    assert variant["false_alarms"]["area"] == pytest.approx([0.2] * T)
    assert variant["f1"]["n"] == 2


def test_pairs_compare_the_same_images_each_at_its_own_threshold() -> None:
    rows = image("a", "A", "lse", STEP, 0) + image("b", "A", "lse", STEP, 0)
    rows += image("b", "A", "cnn", 150 - STEP, 0)  # its best threshold is a late one
    rows += image("c", "A", "cnn", 0, 0)
    rows.append(abstained("a", "cnn", "no cnn predictor"))
    found = summary_of(rows)
    [pair] = found["pairs"]
    assert (pair["a"], pair["b"], pair["n"], pair["interval"]) == ("lse", "cnn", 1, None)
    assert pair["difference"] == 0
    assert found["variants"][1]["status"] == {"not_applicable": 1, "ok": 2}
    assert found["variants"][1]["reasons"] == {"no cnn predictor": 1}
    printed = list(lines(found))
    assert any("lse over cnn: +0.000" in line for line in printed)


def test_a_variant_that_judged_nothing_has_no_numbers_but_a_row() -> None:
    rows = [*image("a", "A", "lse", 100, 0), abstained("a", "cnn", "no cnn predictor")]
    found = summary_of(rows)
    assert found["variants"][1]["f1"]["max"] is None
    assert found["pairs"][0]["n"] == 0
    columns = table(found).to_pydict()
    assert columns["camera_id"] == ["all", "A", "all"]
    assert columns["f1_max"] == [1, 1, None]
    assert columns["variant"] == ["lse", "lse", "cnn"]
    printed = list(lines(found))
    assert printed[1].split()[:3] == ["lse", "1", "1.000"]
    assert printed[2].split()[:3] == ["cnn", "0", "-----"]


def test_the_best_of_each_camera_is_marked() -> None:
    rows = image("a", "A", "lse", 50, 0) + image("b", "B", "lse", 80, 0)
    rows += image("a", "A", "cnn", 100, 0) + image("b", "B", "cnn", 20, 0)
    printed = [line.split() for line in lines(summary_of(rows))]
    assert ["A", "0.667", "1.000*"] in printed
    assert ["B", "0.889*", "0.333"] in printed
