"""Records of images whose truth, maps and measures are known by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from forensics.detectors import columns
from forensics.evaluate import metrics
from forensics.evaluate.scan import RECORDS, THRESHOLDS, Target, evaluate_shard, read_mask
from forensics.records import Finding, ManifestRow, Map, ReportRow, Status
from forensics.schema import MAPS, map_records, report_record, report_schema
from tests.evaluate.runs import (
    CELLS,
    HEIGHT,
    STRIDE,
    WIDTH,
    answer,
    by_image,
    cells,
    pixels,
    report,
    write_mask,
)
from tests.saboteur import NAME

FORGED = cells((0, 0), (2, 3))  # 64 pixels, and 16 in the corner that is cut off


@pytest.fixture
def forged(tmp_path):
    uri = write_mask(tmp_path / "mask.png", pixels(FORGED))
    return ManifestRow("a", "a.jpg", label="forged", mask_uri=uri, source="splice", camera_id="C")


def tables(*reports, detector=NAME):
    records = [report_record(n, r) for n, r in enumerate(reports)]
    maps = [item for r in reports for item in map_records(r)]
    return (
        pa.Table.from_pylist(records, report_schema(columns([detector]))),
        pa.Table.from_pylist(maps, MAPS),
    )


def evaluated(row, finding, truth=None, **settings):
    table = evaluate_shard(*tables(report(row, finding)), truth or {}, **settings)
    assert table.schema == RECORDS
    (record,) = table.to_pylist()
    return record


def test_a_perfect_map_has_f1_of_one(forged):
    record = evaluated(forged, answer(FORGED, FORGED, score=0.9))
    expected = {"image_id": "a", "detector": "saboteur", "label": "forged", "source": "splice"}
    expected |= {"camera_id": "C", "status": "ok", "reason": None, "score": 0.9, "decision": True}
    expected |= {"f1_best": 1, "best_threshold": 0, "pixel_auc": 1, "f1_curve": [1.0] * 24}
    expected |= {"f1_decision": 1, "iou": 1, "mcc": 1, "tampered_fraction": 80 / 560}
    for name in ("best_camera", "ranked", "pce", "false_alarm_area", "problem"):
        expected[name] = None
    assert record == expected


def test_an_inverted_map_is_best_where_it_calls_everything(forged):
    record = evaluated(forged, answer(~FORGED, ~FORGED))
    assert record["f1_best"] == 160 / (80 + 560)
    assert record["best_threshold"] == -np.inf
    assert (record["pixel_auc"], record["f1_decision"], record["iou"]) == (0, 0, 0)
    assert record["mcc"] == pytest.approx(-1)
    assert record["f1_curve"] == [0.0] * 24


def test_pixels_are_counted_not_cells(forged):
    called = cells((0, 0), (0, 1))  # 64 hits, 64 false alarms, 16 misses
    record = evaluated(forged, answer(np.where(FORGED, 0.6, 0.2), called))
    assert record["f1_decision"] == 128 / 208
    assert record["iou"] == 64 / 144
    assert record["mcc"] == metrics.mcc(pixels(called).astype(float), pixels(FORGED))
    assert record["f1_best"] == 1
    assert record["best_threshold"] == pytest.approx(0.2)
    everything, right, nothing = [160 / 640] * 4, [1.0] * 10, [0.0] * 9
    # 0.6 is stored as 153/255, which is not above the threshold 0.6; 0.2 is likewise exact
    assert record["f1_curve"] == [*everything, *right, *nothing, 0.0]
    assert THRESHOLDS[[0, 4, 14, 23]] == pytest.approx([0.04, 0.2, 0.6, 0.96])


def test_a_mask_that_crosses_cells_is_compared_pixel_by_pixel(tmp_path):
    rng = np.random.default_rng(4)
    truth = rng.random((HEIGHT, WIDTH)) < 0.3
    called = rng.random(CELLS) < 0.5
    row = ManifestRow(
        "a", "a.jpg", label="forged", mask_uri=write_mask(tmp_path / "m.png", truth, value=128)
    )
    record = evaluated(row, answer(decision=called))
    assert record["f1_decision"] == metrics.f1_fixed(pixels(called).astype(float), truth)
    assert record["f1_best"] is None


def test_a_pristine_image_has_a_false_alarm_area(tmp_path):
    row = ManifestRow("p", "p.jpg", label="pristine", mask_uri=str(tmp_path / "none.png"))
    record = evaluated(row, answer(cells((2, 3)), cells((2, 3))))
    assert record["false_alarm_area"] == 16 / 560
    assert record["tampered_fraction"] == 0
    assert record["f1_best"] is None
    assert record["f1_decision"] is None
    assert record["problem"] is None
    assert evaluated(row, answer(decision=cells()))["false_alarm_area"] == 0


def test_without_truth_or_mask_there_is_nothing_to_compare(forged):
    for row in (replace(forged, label="suspicious"), replace(forged, label=None)):
        record = evaluated(row, answer(FORGED, FORGED))
        assert record["label"] == row.label
        assert record["score"] == 0.5
        assert record["f1_best"] is record["tampered_fraction"] is record["problem"] is None
    record = evaluated(replace(forged, mask_uri=None), answer(FORGED, FORGED))
    assert record["f1_best"] is record["f1_decision"] is record["problem"] is None


def test_bad_masks_are_problems_of_their_row(forged, tmp_path):
    small = write_mask(tmp_path / "small.png", np.ones((HEIGHT, WIDTH - 1), bool))
    dark = write_mask(tmp_path / "dark.png", pixels(FORGED), value=127)
    text = tmp_path / "text.png"
    text.write_text("no picture")
    reasons = {
        small: "has 27x20 pixels, the image has 28x20",
        dark: "marks no pixel",
        str(text): "text.png: ",
        str(tmp_path / "absent.png"): "absent.png",
        "ftp://host/mask.png": "ftp",
    }
    for uri, reason in reasons.items():
        record = evaluated(replace(forged, mask_uri=uri), answer(FORGED, FORGED))
        assert reason in record["problem"]
        assert uri in record["problem"]
        assert record["status"] == "ok"
        assert record["f1_best"] is record["tampered_fraction"] is None


def test_a_mask_is_forged_where_any_channel_is_above_127(tmp_path):
    colours = np.array([[[0, 0, 0], [127, 127, 127], [128, 0, 0], [255, 255, 255]]], np.uint8)
    path = tmp_path / "colour.png"
    Image.fromarray(colours).save(path)
    assert read_mask(str(path), 1, 4).tolist() == [[False, False, True, True]]


def test_bad_maps_are_problems_of_their_row(forged):
    report_table, maps = tables(report(forged, answer(FORGED, FORGED)))
    torn = maps.to_pylist()
    torn[1]["png"] = torn[1]["png"][:30]
    table = evaluate_shard(report_table, pa.Table.from_pylist(torn, MAPS), {})
    assert "no readable PNG" in table["problem"][0].as_py()
    assert table["f1_best"][0].as_py() is None
    finding = Finding(maps=(Map("decision", STRIDE, np.ones((3, 3), bool)),))
    for row in (forged, replace(forged, label="pristine")):
        problem = evaluated(row, finding)["problem"]
        assert problem == "the decision map has (3, 3) cells of 8 pixels, the image needs (3, 4)"


def test_statuses_and_reasons_are_those_of_the_detector_or_the_row(forged):
    abstained = Finding(Status.NOT_APPLICABLE, "no fingerprint")
    record = evaluated(forged, abstained)
    assert (record["status"], record["reason"]) == ("not_applicable", "no fingerprint")
    assert record["score"] is record["f1_best"] is record["problem"] is None
    record = evaluated(forged, None)
    assert (record["status"], record["reason"]) == ("unreadable", "broken file")


def test_the_truth_wins_over_the_report_where_it_says_something(forged, tmp_path):
    other = write_mask(tmp_path / "other.png", pixels(cells((1, 1))))
    truth = {"a": ManifestRow("a", "elsewhere", mask_uri=other, source="copy-move")}
    record = evaluated(forged, answer(decision=cells((1, 1))), truth)
    assert record["f1_decision"] == 1
    assert (record["label"], record["source"], record["camera_id"]) == ("forged", "copy-move", "C")
    assert evaluated(forged, answer(), {"b": ManifestRow("b", "b", label="pristine")}) == (
        evaluated(forged, answer())
    )


def test_the_border_of_a_mask_can_be_left_out():
    truth = np.zeros((64, 80), bool)
    truth[16:48, 24:60] = True
    valid = metrics.away_from_border(truth)
    values = np.random.default_rng(0).random((8, 10)).astype(np.float32)
    counts = Target(truth, valid).tally(Map("probability", 8, values))
    dense = np.kron(values, np.ones((8, 8), np.float32))
    assert counts.f1_best()[0] == metrics.f1_best(dense, truth, valid)
    assert counts.auc() == pytest.approx(metrics.auc(dense, truth, valid), rel=1e-12)
    assert counts.f1_best()[0] != metrics.f1_best(dense, truth)


def test_a_mask_that_is_all_border_is_a_problem(forged, tmp_path):
    narrow = write_mask(tmp_path / "narrow.png", pixels(cells((1, 1))))
    row = replace(forged, mask_uri=narrow)
    record = evaluated(row, answer(FORGED, FORGED), border="trufor")
    assert "too narrow: border=trufor" in record["problem"]


def test_records_keep_the_order_of_the_report(tmp_path):
    rows = [ManifestRow(name, f"{name}.jpg") for name in "zab"]
    table = evaluate_shard(*tables(*(report(row, answer()) for row in rows)), {})
    assert list(by_image(table)) == ["z", "a", "b"]


def test_the_ranked_cameras_are_recorded():
    rank = [{"camera_id": c, "pce": p, "ncc": 0.1} for c, p in (("A", 90.0), ("B", 3.0))]
    finding = Finding(values={"best_camera": "A", "pce": 90.0, "rank": rank})
    row = ManifestRow("x", "x.jpg", camera_id="B")
    reported = ReportRow(row, Status.OK, height=HEIGHT, width=WIDTH, findings={"camera": finding})
    (record,) = evaluate_shard(*tables(reported, detector="camera"), {}).to_pylist()
    assert (record["best_camera"], record["pce"], record["ranked"]) == ("A", 90.0, ["A", "B"])
