"""The study of the origin: what images undergo, cells, and the numbers that come of them."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from forensics.evaluate.study import origin_summary
from forensics.evaluate.study.origin import RECORDS, Cell, OriginStudy
from forensics.evaluate.study.origin_cell import abstain, evaluate_cell
from forensics.evaluate.study.origin_operations import Operation, stretch
from forensics.evaluate.study.origin_plots import filters_figure, robustness_figure
from forensics.origin.filters import channel_variances
from forensics.records import Status
from tests.origin.networks import CLASSES, of_class
from tests.origin.test_network import published, saved
from tests.train.origin.made import PATCHES, images

STUDY = OriginStudy.model_validate(
    {
        "folds": 2,
        "patches": PATCHES.model_dump(),
        "jpeg_qualities": [50],
        "scales": [0.3, 1.5],
        "turns": True,
        "contrasts": [0.1],
        "width": 1 / 16,
        "training": {"epochs": 1, "batch": 8, "orientations": 1},
    }
)


def test_operations_do_what_they_are_called() -> None:
    rgb = of_class(0, 0, 40, 60)
    assert Operation().apply(rgb) is rgb
    file = io.BytesIO()
    Image.fromarray(rgb).save(file, "JPEG", quality=30, subsampling="4:2:0")
    assert np.array_equal(Operation("jpeg", 30).apply(rgb), np.asarray(Image.open(file)))
    assert Operation("scale", 1.3).apply(rgb).shape == (52, 78, 3)
    assert np.array_equal(Operation("rotate", 90).apply(rgb)[0, 0], rgb[0, -1])
    assert np.array_equal(Operation("rotate", 180).apply(rgb), rgb[::-1, ::-1])
    assert np.array_equal(Operation("flip", 0).apply(rgb), rgb[:, ::-1])
    assert np.array_equal(Operation("flip", 1).apply(rgb), rgb[::-1])
    names = [operation.name for operation in STUDY.operations(levelled=True)]
    assert names == [
        "original", "jpeg-50", "scale-0.3", "scale-1.5", "rotate-90", "rotate-180", "rotate-270",
        "flip-horizontal", "flip-vertical", "contrast-0.1",
    ]  # fmt: skip
    assert STUDY.operations(levelled=False) == (Operation(),)


def test_contrast_takes_the_range_between_both_points_to_all_levels() -> None:
    rgb = np.array([[[40, 44, 60], [122, 180, 200]]], np.uint8)
    assert np.array_equal(stretch(rgb, 0.0).ravel()[[0, -1]], [0, 255])
    # 40 · 1.1 = 44 becomes 0, 200 · 0.9 = 180 becomes 255
    assert stretch(rgb, 0.1).tolist() == [[[0, 0, 30], [146, 255, 255]]]
    flat = np.full((2, 2, 3), 100, np.uint8)
    assert np.array_equal(stretch(flat, 0.2), flat)


def test_cells_are_all_combinations_and_what_is_quick_comes_first() -> None:
    cells = list(STUDY.cells())
    assert len(set(cells)) == len(cells) == 4 * 2 * 2
    assert [cell.method for cell in cells[-4:]] == ["ada"] * 4
    assert cells[0].name == "histogram_levelled_fold0"
    assert Cell("ada", False, 1).name == "ada_as-found_fold1"


@pytest.mark.parametrize("method", ["ada", "cooccurrence"])
def test_a_cell_judges_every_image_in_every_variant(method: Any) -> None:
    training, testing = images(3), images(2, 50)
    found = evaluate_cell(STUDY, CLASSES, Cell(method, True, 1), training, testing)
    assert len(found["records"]) == 6 * 10
    assert all(set(record) <= set(RECORDS.names) for record in found["records"])
    for record in found["records"]:
        if record["operation"] == "scale-0.3":
            assert record["status"] == Status.NOT_APPLICABLE
            assert "hold no patch" in record["reason"]
        else:
            assert record["status"] == Status.OK, record
            assert sum(record["votes"]) == record["patches"] == 3
            assert record["votes"][CLASSES.index(record["label"])] == record["patches_right"]
            assert record["votes"][CLASSES.index(record["said"])] == max(record["votes"])
    assert found["training"] == 27
    assert (found["filters"] is None) == (method != "ada")
    assert (found["history"] is None) == (method != "ada")
    again = evaluate_cell(STUDY, CLASSES, Cell(method, True, 1), training, testing)
    assert again["records"] == found["records"]


def test_test_images_follow_the_course_of_a_training() -> None:
    study = STUDY.model_copy(
        update={"training": STUDY.training.model_copy(update={"epochs": 2, "watched": 2})}
    )
    told: list[str] = []
    cell = Cell("ada", False, 1)
    found = evaluate_cell(study, CLASSES, cell, images(3), images(2, 50), tell=told.append)
    assert [epoch["number"] for epoch in found["history"]] == [1, 2]
    assert all(0 <= epoch["held_out_accuracy"] <= 1 for epoch in found["history"])
    assert told[1].startswith("ada_as-found_fold1: epoch 2/2, loss ")
    blind = study.model_copy(update={"training": study.training.model_copy(update={"watched": 0})})
    unseen = evaluate_cell(blind, CLASSES, cell, images(3), images(2, 50))
    assert [epoch["held_out_accuracy"] for epoch in unseen["history"]] == [None, None]
    assert unseen["records"] == found["records"]


def test_nothing_is_learned_where_nothing_is_tested() -> None:
    found = evaluate_cell(STUDY, CLASSES, Cell("ada", True, 1), images(3), [])
    assert found["records"] == []
    assert found["training"] is None


def test_test_images_may_give_more_patches_than_training_images() -> None:
    study = STUDY.model_copy(update={"test_patches": 9})
    found = evaluate_cell(study, CLASSES, Cell("saturation", False, 0), images(2), images(1, 50))
    assert [record["patches"] for record in found["records"]] == [9, 9, 9]


def test_what_cannot_be_learned_is_said_in_every_record() -> None:
    cell, testing = Cell("vgg", False, 0), images(1)
    found = evaluate_cell(STUDY, CLASSES, cell, images(2), testing)
    assert {r["status"] for r in found["records"]} == {Status.NOT_APPLICABLE}
    assert "needs vgg_weights" in found["records"][0]["reason"]
    failed = abstain(STUDY, CLASSES, cell, testing, MemoryError("too much"))
    assert [(r["status"], r["reason"]) for r in failed["records"]] == [("failed", "too much")] * 3


def test_vgg_begins_with_the_layers_of_its_file() -> None:
    data = saved(published())
    cell = Cell("vgg", False, 0)
    found = evaluate_cell(STUDY, CLASSES, cell, images(2), images(1, 50), vgg=data)
    assert {r["status"] for r in found["records"]} == {Status.OK}
    first = published()["features.0.weight"].numpy()
    assert np.array_equal(np.array(found["filters"], np.float32), first)


def record(label: str, said: str | None, right: int, **more: Any) -> dict[str, Any]:
    good = said is not None
    return {
        "image_id": "a",
        "source": "s",
        "label": label,
        "method": "ada",
        "levelled": True,
        "fold": 0,
        "operation": "original",
        "status": "ok" if good else "not_applicable",
        "reason": None if good else "too small",
        "patches": 4 if good else None,
        "patches_right": right if good else None,
        "said": said,
        "votes": None,
        **more,
    }


def made() -> dict[str, Any]:
    records = [
        record("npi", "npi", 3),
        record("npi", "npi", 4),
        record("npi", "cgg", 1),
        record("cgg", "cgg", 2),
        record("dgi", "npi", 0),
        record("dgi", None, 0),
        record("npi", "npi", 4, operation="jpeg-50"),
        record("npi", "cgg", 0, operation="rotate-90"),
        record("npi", "npi", 2, method="saturation"),
    ]
    filters = np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(np.float32)
    history = [{"number": 1, "loss": 1.0, "accuracy": 0.5, "held_out_accuracy": None, "lr": 0.1}]
    return {
        "records": records,
        "seconds": 2.0,
        "training": 9,
        "filters": filters.tolist(),
        "history": history,
    }


def test_numbers_of_the_summary() -> None:
    cell = made()
    summary = origin_summary.summarise([cell], CLASSES, "images")
    first = summary["rows"][0]
    assert (first["method"], first["levelled"], first["operation"]) == ("ada", True, "original")
    assert first["images"] == 5
    assert first["accuracy"] == pytest.approx(3 / 5)
    assert first["patch_accuracy"] == pytest.approx(10 / 20)
    assert first["recall"] == pytest.approx({"npi": 2 / 3, "cgg": 1, "dgi": 0})
    assert first["balanced_accuracy"] == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert first["patch_balanced_accuracy"] == pytest.approx((8 / 12 + 2 / 4 + 0) / 3)
    assert first["confusion"] == [[2, 1, 0], [0, 1, 0], [1, 0, 0]]
    assert first["interval"] is None  # one image of cgg
    assert summary["courses"] == {"ada_levelled_fold0": cell["history"]}
    assert summary["status"] == {"not_applicable": 1, "ok": 8}
    assert summary["reasons"] == {"too small": 1}
    variances = channel_variances(np.array(cell["filters"]))
    assert summary["filters"]["ada, levelled"] == pytest.approx(variances.tolist())
    table = origin_summary.table(summary).to_pylist()
    assert [row["operation"] for row in table] == ["original", "jpeg-50", "rotate-90", "original"]
    text = "\n".join(origin_summary.lines(summary))
    assert "CNN (ada)" in text
    assert "variance of the first layer's weights" in text


def test_intervals_are_of_what_is_apart() -> None:
    """Images of a source told alike are worth one."""
    records = [
        record(label, label if source % 2 else "dgi", 4, image_id=f"{label}{source}{k}",
               source=f"{label}{source}")
        for label in ("npi", "cgg")
        for source in range(10)
        for k in range(9)
    ]  # fmt: skip
    cells = [{**made(), "records": records}]
    widths = {}
    for apart in ("sources", "images"):
        [row] = origin_summary.summarise(cells, CLASSES, apart)["rows"]  # type: ignore[arg-type]
        assert row["accuracy"] == row["balanced_accuracy"] == 0.5
        assert row["interval"] == pytest.approx(row["balanced_interval"])
        low, high = row["interval"]
        widths[apart] = high - low
    n = {"sources": 20, "images": 180}
    for apart, width in widths.items():
        assert width == pytest.approx(2 * 1.96 * 0.5 / n[apart] ** 0.5, rel=0.1)
    [row] = origin_summary.table(origin_summary.summarise(cells, CLASSES, "sources")).to_pylist()
    assert (row["balanced_low"], row["balanced_high"]) == (row["low"], row["high"])


def test_images_that_were_not_judged_have_no_numbers() -> None:
    cells = [{**made(), "records": [record("npi", None, 0)]}]
    summary = origin_summary.summarise(cells, CLASSES, "sources")
    [row] = origin_summary.table(summary).to_pylist()
    assert (row["images"], row["accuracy"], row["low"], row["balanced_high"]) == (0, *[None] * 3)
    assert "CNN (ada)" in "".join(origin_summary.lines(summary))


def test_classes_count_alike_in_their_interval() -> None:
    """All of npi right, half of cgg's sources: the first, of which there are more, is sure."""
    records = [
        *(record("npi", "npi", 4, image_id=f"n{k}", source=f"n{k}") for k in range(90)),
        *(record("cgg", ("cgg", "npi")[k % 2], 4, image_id=f"c{k}", source=f"c{k}")
          for k in range(10)),
    ]  # fmt: skip
    [row] = origin_summary.summarise([{**made(), "records": records}], CLASSES, "sources")["rows"]
    (low, high), (least, most) = row["interval"], row["balanced_interval"]
    assert (row["accuracy"], row["balanced_accuracy"]) == (0.95, 0.75)
    assert most - least == pytest.approx(5 * (high - low))


def test_figures_are_drawn_of_what_there_is() -> None:
    summary = origin_summary.summarise([made()], CLASSES, "images")
    figure = robustness_figure(summary)
    assert figure is not None
    assert [axes.get_title() for axes in figure.axes] == [
        "JPEG compression", "rotation and flipping",
    ]  # fmt: skip
    line = figure.axes[0].lines[0]
    assert line.get_ydata().tolist() == pytest.approx([100 * 5 / 9, 100])
    only = {**summary, "rows": summary["rows"][:1]}
    assert robustness_figure(only) is None
    weights = np.array(made()["filters"], np.float32)
    assert len(filters_figure(weights, "title").axes) == 3
