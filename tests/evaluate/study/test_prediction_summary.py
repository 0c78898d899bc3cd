"""Adjusted R² of made-up correlations."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from forensics.evaluate.metrics import adjusted_r2
from forensics.evaluate.study.prediction import RECORDS
from forensics.evaluate.study.prediction_summary import lines, summarise, table

RHO = np.random.default_rng(3).uniform(0, 0.2, 60).astype(np.float32)


def photo(name: str, camera: str, predictor: str, rho_hat: Any, **more: Any) -> pa.Table:
    values: dict[str, Any] = {
        "image_id": name,
        "camera_id": camera,
        "predictor": predictor,
        "jpeg_quality": None,
        "retrained": False,
        "seen": False,
        "y": 0,
        "x": 0,
        "rho": RHO,
        "rho_hat": rho_hat,
        "saturation": 0.0,
        "status": "ok",
        "reason": None,
        **more,
    }
    columns = [np.broadcast_to(values[name], RHO.shape).tolist() for name in RECORDS.names]
    return pa.table([pa.array(c, f.type) for c, f in zip(columns, RECORDS, strict=True)], RECORDS)


def summary_of(*tables: pa.Table) -> dict[str, Any]:
    return summarise(pa.concat_tables(tables))


def test_adjusted_r2_per_camera_and_its_average() -> None:
    noise = np.random.default_rng(4).normal(0, 0.02, 60).astype(np.float32)
    found = summary_of(
        photo("a", "A", "lse", RHO + noise),
        photo("b", "B", "lse", RHO),
        photo("a", "A", "cnn", RHO),
        photo("b", "B", "cnn", RHO),
    )
    lse, cnn = found["variants"]
    expected = adjusted_r2(RHO, RHO + noise, 14)
    assert lse["cameras"]["A"]["r2"] == pytest.approx(expected)
    assert lse["cameras"]["B"]["r2"] == 1
    assert lse["average"]["r2"]["mean"] == pytest.approx((expected + 1) / 2)
    assert (lse["judged"], cnn["average"]["r2"]["mean"]) == (2, 1)
    [pair] = found["pairs"]
    assert (pair["a"], pair["b"], pair["n"], pair["better"]) == ("lse", "cnn", 2, 0)
    assert pair["difference"] == pytest.approx((expected - 1) / 2)
    columns = table(found).to_pydict()
    assert columns["camera_id"] == ["A", "B", "average"] * 2
    assert columns["r2"][2] == pytest.approx((expected + 1) / 2)
    assert columns["blocks"][2] == 120
    printed = list(lines(found))
    assert printed[1].split() == ["A", f"{expected:.3f}", f"({expected:.3f})", "1.000", "(1.000)"]


def test_saturated_blocks_are_told_apart() -> None:
    saturated = np.arange(60) >= 40
    wrong = np.where(saturated, np.float32(0.3), RHO)
    share = np.where(saturated, 0.7, 0.69).astype(np.float32)
    found = summary_of(photo("a", "A", "lse", wrong, saturation=share))
    camera = found["variants"][0]["cameras"]["A"]
    assert camera["r2"] < 0
    assert camera["r2_unsaturated"] == 1
    assert camera["saturated"] == pytest.approx(1 / 3)


def test_the_gain_of_each_photo_is_taken_out_on_request() -> None:
    tables = [photo("a", "A", "lse", RHO * 2), photo("b", "A", "lse", RHO / np.float32(1.4))]
    camera = summary_of(*tables)["variants"][0]["cameras"]["A"]
    assert camera["r2"] < 0.5
    assert camera["r2_at_gain"] == pytest.approx(1, abs=1e-6)
    low, high = camera["interval"]
    assert low < camera["r2"] < high


def test_too_few_blocks_and_no_photo_have_no_number() -> None:
    few = photo("a", "A", "lse", RHO).slice(0, 15)
    gone = photo("b", "B", "cnn", 0.0, status="not_applicable", reason="no camera").slice(0, 1)
    found = summary_of(few, gone)
    lse, cnn = found["variants"]
    assert lse["cameras"]["A"]["r2"] is None
    assert cnn["cameras"] == {}
    assert (cnn["judged"], cnn["reasons"]) == (0, {"no camera": 1})
    assert found["pairs"][0]["n"] == 0
    assert table(found)["r2"].to_pylist() == [None, None, None]
    assert list(lines(found))[1].split() == ["A", "-----", "(-----)", "-----"]
