"""Records with known numbers to the paper's tables."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from forensics.evaluate.study import trufor_summary
from forensics.evaluate.study.trufor import RECORDS
from forensics.evaluate.study.trufor_summary import TABLE, summarise, table


def record(image: str, source: str | None, label: str, **values: Any) -> dict[str, Any]:
    known = {"checkpoint": "one", "laundering": "original", "status": "ok", "seconds": 1.0}
    return {"image_id": image, "source": source, "label": label, **known, **values}


def scored(image: str, source: str, label: str, score: float, **more: Any) -> dict[str, Any]:
    others = {"map_max": 1 - score, "map_mean": 0.1, **more}
    return record(image, source, label, score=score, **others)


def pixels(best: float, fixed: float) -> dict[str, float]:
    return {"f1_best": best, "f1_fixed": fixed, "pixel_auc": 0.75}


RECORDED = [
    scored("a1", "A", "forged", 0.9, **pixels(0.8, 0.6)),
    scored("a2", "A", "forged", 0.4, **pixels(0.4, 0.2)),
    scored("a3", "A", "forged", 0.7),  # its mask is too narrow
    scored("a4", "A", "pristine", 0.6),
    scored("a5", "A", "pristine", 0.1),
    scored("b1", "B", "forged", 0.3, **pixels(0.2, 0.1)),
    scored("b2", "B", "forged", 0.2, **pixels(0.4, 0.3)),
    scored("c1", "C", "pristine", 0.8),
    record("x", "A", "forged", status="failed", reason="why", seconds=None),
]


def summary(records: list[dict[str, Any]]) -> dict[str, Any]:
    return summarise(pa.Table.from_pylist(records, schema=RECORDS))


def test_numbers_of_data_sets_by_hand() -> None:
    [variant] = summary(RECORDED)["variants"]
    assert (variant["name"], variant["judged"], variant["seconds"]) == ("one", 8, 1.0)
    assert variant["status"] == {"failed": 1, "ok": 8}
    assert variant["reasons"] == {"why": 1}
    sources = variant["sources"]
    assert list(sources) == ["A", "B", "C", "average", "all"]
    a = sources["A"]
    assert (a["masks"], a["forged"], a["pristine"]) == (2, 3, 2)
    assert (a["f1_best"], a["f1_fixed"]) == (pytest.approx(0.6), pytest.approx(0.4))
    assert a["auc"] == pytest.approx(5 / 6)  # of six pairs, 0.4 is below 0.6
    assert a["accuracy"] == pytest.approx((2 / 3 + 1 / 2) / 2)  # above 0.5: 0.9, 0.7; 0.6
    assert a["accuracy_best"] == pytest.approx((2 / 3 + 1) / 2)  # at 0.6, or at 0.1
    assert a["max_auc"] == pytest.approx(1 / 6)
    assert (a["mean_auc"], a["mean_accuracy"]) == (0.5, 0.5)
    assert (sources["B"]["f1_fixed"], sources["B"]["auc"]) == (pytest.approx(0.2), None)
    assert (sources["C"]["f1_best"], sources["C"]["accuracy"]) == (None, None)


def test_the_average_is_of_data_sets_and_all_is_of_images() -> None:
    [variant] = summary(RECORDED)["variants"]
    average, every = (variant["sources"][name] for name in ("average", "all"))
    assert average["f1_fixed"] == pytest.approx((0.4 + 0.2) / 2)
    assert average["auc"] == pytest.approx(5 / 6)  # only A has both classes
    assert (average["masks"], average["forged"], average["pristine"]) == (4, 5, 3)
    assert every["f1_fixed"] == pytest.approx(1.2 / 4)
    assert every["auc"] == pytest.approx(8 / 15)
    low, high = every["f1_fixed_interval"]
    assert 0.1 <= low < 0.3 < high <= 0.6


def test_one_data_set_needs_no_average() -> None:
    nameless = [{**row, "source": None} for row in RECORDED[:5]]
    assert list(summary(nameless)["variants"][0]["sources"]) == ["(not given)"]


def test_variants_that_differ_in_one_axis_are_compared_image_by_image() -> None:
    def other(**axes: str) -> list[dict[str, Any]]:
        return [
            {**row, **axes, **(pixels(0.9, row["f1_fixed"] - 0.1) if "f1_fixed" in row else {})}
            for row in RECORDED[:-1]
        ]

    found = summary(
        RECORDED + other(checkpoint="two") + other(checkpoint="two", laundering="small")
    )
    assert [v["name"] for v in found["variants"]] == [
        "one, original",
        "two, original",
        "two, small",
    ]
    first, second = found["pairs"]
    assert (first["a"], first["b"], first["n"]) == ("one, original", "two, original", 4)
    assert first["f1_fixed"] == pytest.approx(0.1)
    assert first["f1_fixed_interval"] == pytest.approx((0.1, 0.1))
    assert first["f1_best"] == pytest.approx(1.8 / 4 - 0.9)
    assert (second["a"], second["b"], second["f1_fixed"]) == ("two, original", "two, small", 0)


def test_the_table_has_a_row_per_variant_and_data_set() -> None:
    found = summary(RECORDED)
    rows = table(found).to_pylist()
    assert table(found).schema.equals(TABLE)
    assert [row["source"] for row in rows] == ["A", "B", "C", "average", "all"]
    assert rows[0]["auc"] == pytest.approx(5 / 6)
    assert rows[0]["f1_fixed_low"] <= 0.4 <= rows[0]["f1_fixed_high"]
    assert rows[3]["f1_fixed_low"] is None
    lines = list(trufor_summary.lines(found))
    assert lines[0].startswith("one")
    assert lines[1].split()[:4] == ["A", "2", "0.600", "0.400"]


def test_figures_are_drawn_for_what_there_is() -> None:
    records = pa.Table.from_pylist(RECORDED, schema=RECORDS)
    assert set(trufor_summary.figures(records, summarise(records))) == {"roc.png", "f1.png"}
    pristine = pa.Table.from_pylist(RECORDED[3:5], schema=RECORDS)
    assert trufor_summary.figures(pristine, summarise(pristine)) == {}


def test_where_nothing_was_judged_there_are_no_numbers() -> None:
    found = summary(RECORDED[-1:])
    assert found["variants"][0]["judged"] == 0
    assert table(found).num_rows == 0
