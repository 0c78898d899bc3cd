"""Summaries of a few records, computed by hand."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest

from forensics.evaluate.scan import RECORDS
from forensics.evaluate.summary import pixel_rows, summarise


def table(*records):
    return pa.Table.from_pylist(
        [{"detector": "prnu", "status": "ok", **record} for record in records], schema=RECORDS
    )


def forged(name, source="splice", camera="A", **more):
    return {"image_id": name, "label": "forged", "source": source, "camera_id": camera, **more}


def pristine(name, **more):
    return {"image_id": name, "label": "pristine", "camera_id": "A", **more}


def summary_of(*records):
    result = summarise(table(*records))
    json.dumps(result, allow_nan=False)
    return result


def test_means_are_over_the_images_that_have_the_measure():
    result = summary_of(
        forged("1", f1_best=1.0, f1_decision=0.5),
        forged("2", f1_best=0.5),
        forged("3", "copy-move", "B", f1_best=0.3, f1_decision=0.1),
        forged("4", status="not_applicable"),
        forged("5", None, None, f1_best=0.2),
    )
    pixel = result["detectors"]["prnu"]["pixel"]
    assert pixel["f1_best"] == {
        "n": 4,
        "mean": pytest.approx(0.5),
        "source": {
            "(not given)": {"n": 1, "mean": 0.2},
            "copy-move": {"n": 1, "mean": 0.3},
            "splice": {"n": 2, "mean": 0.75},
        },
        "camera_id": {
            "(not given)": {"n": 1, "mean": 0.2},
            "A": {"n": 2, "mean": 0.75},
            "B": {"n": 1, "mean": 0.3},
        },
    }
    assert (pixel["f1_decision"]["n"], pixel["f1_decision"]["mean"]) == (2, pytest.approx(0.3))
    assert pixel["iou"] == {"n": 0, "mean": None, "source": {}, "camera_id": {}}
    rows = {row["images"]: row for row in pixel_rows(result)}
    assert list(rows) == [
        "all",
        "kind (not given)",
        "kind copy-move",
        "kind splice",
        "camera (not given)",
        "camera A",
        "camera B",
    ]
    assert rows["kind splice"] == {
        "detector": "prnu",
        "images": "kind splice",
        "n": 2,
        "f1_best": 0.75,
        "f1_decision": 0.5,
        "iou": None,
        "mcc": None,
        "pixel_auc": None,
    }


def test_scores_are_judged_on_answered_images_of_known_truth():
    result = summary_of(
        forged("1", score=0.9, decision=True),
        forged("2", score=0.4, decision=False),
        pristine("3", score=0.1, decision=False),
        pristine("4", score=0.5, decision=True),
        pristine("5", score=0.2, decision=False),
        pristine("6", status="not_applicable", score=1.0),
        {"image_id": "7", "label": "odd", "score": 1.0, "decision": True},
        {"image_id": "8", "status": "unreadable"},
    )
    assert result["labels"] == {"(not given)": 1, "forged": 2, "odd": 1, "pristine": 4}
    assert result["images"] == 8
    prnu = result["detectors"]["prnu"]
    assert prnu["status"] == {
        "(not given)": {"unreadable": 1},
        "forged": {"ok": 2},
        "odd": {"ok": 1},
        "pristine": {"not_applicable": 1, "ok": 3},
    }
    assert prnu["abstention_rate"] == 1 / 7
    image = prnu["image"]
    assert (image["forged"], image["pristine"]) == (2, 3)
    assert image["auc"] == pytest.approx(5 / 6)
    assert image["balanced_accuracy_decision"] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert image["balanced_accuracy_best"] == pytest.approx((1 + 2 / 3) / 2)
    assert image["best_threshold"] == 0.2  # above it: both forged images and one pristine
    assert image["roc"]["fpr"] == pytest.approx([0, 0, 1 / 3, 1 / 3, 2 / 3, 1])
    assert image["roc"]["tpr"] == pytest.approx([0, 0.5, 0.5, 1, 1, 1])


def test_one_class_alone_has_no_curve():
    result = summary_of(forged("1", score=0.9, decision=True))
    image = result["detectors"]["prnu"]["image"]
    assert image["auc"] is image["roc"] is image["balanced_accuracy_decision"] is None
    assert image["best_threshold"] is image["balanced_accuracy_best"] is None


def test_a_long_roc_is_thinned_and_keeps_its_ends():
    records = [forged(f"f{n}", score=n / 2000 + 0.0001) for n in range(1000)]
    records += [pristine(f"p{n}", score=n / 4000) for n in range(1000)]
    roc = summary_of(*records)["detectors"]["prnu"]["image"]["roc"]
    assert len(roc["fpr"]) == len(roc["tpr"]) == 500
    assert (roc["fpr"][0], roc["tpr"][0], roc["fpr"][-1], roc["tpr"][-1]) == (0, 0, 1, 1)


def test_the_f1_curve_is_averaged_over_images_before_its_maximum():
    one = [0.0] * 24
    two = [0.0] * 24
    one[3], two[3], two[5] = 0.6, 0.4, 0.9
    curve = summary_of(forged("1", f1_curve=one), forged("2"), forged("3", f1_curve=two))[
        "detectors"
    ]["prnu"]["f1_curve"]
    assert curve["n"] == 2
    assert curve["max"] == pytest.approx(0.5)
    assert curve["best_threshold"] == pytest.approx(0.16)
    assert curve["f1"][5] == pytest.approx(0.45)


def test_the_worst_false_alarms_are_named():
    alarms = summary_of(
        pristine("1", false_alarm_area=0.1),
        pristine("2", false_alarm_area=0.0),
        pristine("3", false_alarm_area=0.5),
        pristine("4", status="failed"),
    )["detectors"]["prnu"]["false_alarm_area"]
    assert alarms["n"] == 3
    assert alarms["mean"] == pytest.approx(0.2)
    assert alarms["max"] == 0.5
    assert list(alarms["worst"].items()) == [("3", 0.5), ("1", 0.1)]


def test_named_cameras_are_counted_against_the_true_ones():
    def image(name, true, named, ranked=("A", "B"), **more):
        found = {"best_camera": named, "ranked": ranked, **more}
        if named is None:
            found["status"] = "not_applicable"
        return {"image_id": name, "detector": "camera", "camera_id": true, **found}

    result = summary_of(
        image("1", "A", "A", label="forged"),
        image("2", "A", "A"),
        image("3", "A", "B"),
        image("4", "B", None),
        image("5", "B", None, ranked=None),  # too small to be ranked
        image("6", "Z", None),
        image("7", "Z", "A"),
        image("8", None, "A"),
        {"image_id": "9", "detector": "camera", "camera_id": "A", "status": "unreadable"},
    )
    found = result["detectors"]["camera"]
    assert found["identification"] == {
        "n": 7,
        "answered": 4,
        "correct": 2,
        "accuracy": 0.5,
        "known_cameras": {"correct": 2, "wrong": 1, "abstained": 2},
        "unknown_cameras": {"named": 1, "abstained": 1},
        "confusion": {
            "A": {"A": 2, "B": 1},
            "B": {"(abstained)": 2},
            "Z": {"(abstained)": 1, "A": 1},
        },
    }
    assert found["abstention_rate"] == 3 / 8
    assert found["image"]["auc"] is None
    assert pixel_rows(result) == []


def test_problems_are_counted_and_the_first_are_named():
    records = [forged(str(n), problem=f"mask {n}") for n in range(25)]
    problems = summary_of(forged("good"), *records)["problems"]
    assert problems["count"] == 25
    assert len(problems["examples"]) == 20
    assert problems["examples"][0] == {"image_id": "0", "detector": "prnu", "problem": "mask 0"}


def test_detectors_are_kept_apart_and_nothing_is_no_error():
    result = summary_of(
        forged("1", f1_best=1.0), {**forged("1", f1_best=0.0), "detector": "trufor"}
    )
    means = {name: d["pixel"]["f1_best"]["mean"] for name, d in result["detectors"].items()}
    assert means == {"prnu": 1.0, "trufor": 0.0}
    assert result["images"] == 1
    assert summary_of() == {
        "images": 0,
        "labels": {},
        "problems": {"count": 0, "examples": []},
        "detectors": {},
    }
