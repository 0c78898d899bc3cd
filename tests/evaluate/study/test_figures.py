"""A study gets the papers' figures, and they show its numbers."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pytest
from matplotlib.figure import Figure

from forensics.evaluate.scan import THRESHOLDS
from forensics.evaluate.study import localization, localization_summary, prediction_summary
from forensics.evaluate.study.figures import localization_figures, prediction_figures
from tests.evaluate.study.test_localization_summary import STEP, abstained, image
from tests.evaluate.study.test_prediction_summary import RHO, photo


def rendered(figure: Figure) -> Figure:
    """The picture; drawing it would warn, and so fail, on missing glyphs or bad limits."""
    file = io.BytesIO()
    figure.savefig(file, format="png")
    assert file.getvalue().startswith(b"\x89PNG")
    return figure


def figures_of(rows: list[object]) -> dict[str, Figure]:
    records = pa.Table.from_pylist(rows, schema=localization.RECORDS)
    return localization_figures(localization_summary.summarise(records))


def legends(figure: Figure) -> dict[str, list[str]]:
    found = {}
    for axes in figure.axes:
        legend = axes.get_legend()
        found[axes.get_title()] = [t.get_text() for t in legend.get_texts()] if legend else []
    return found


def test_f1_and_roc_have_a_panel_per_decision_and_a_line_per_predictor() -> None:
    rows = []
    for decision in ("stm", "crf"):
        for predictor in ("lse", "cnn"):
            rows += image("a", "A", predictor, STEP, 30, decision=decision)
    found = figures_of(rows)
    assert set(found) == {"f1.png", "roc.png"}
    best = 200 / 230
    assert legends(rendered(found["f1.png"])) == {
        decision: [f"{name}: {best:.3f}" for name in ("lse", "cnn")] for decision in ("stm", "crf")
    }
    curve, mark = found["f1.png"].axes[0].get_lines()[:2]
    np.testing.assert_allclose(curve.get_xdata(), THRESHOLDS)
    assert curve.get_ydata()[:2] == pytest.approx([best, best])
    assert mark.get_xydata().tolist() == [[THRESHOLDS[0], pytest.approx(best)]]
    roc = rendered(found["roc.png"]).axes[0].get_lines()[0]
    assert roc.get_xydata()[0] == pytest.approx([0.1, 1])


def test_cameras_are_shown_one_by_one_where_there_are_several() -> None:
    rows = image("a", "A", "lse", STEP, 0) + image("b", "B", "lse", 50, 0)
    found = figures_of(rows)
    assert set(found) == {"f1.png", "roc.png", "by_camera-f1.png", "by_camera-roc.png"}
    assert legends(rendered(found["by_camera-f1.png"])) == {
        "A": ["lse: 1.000"],
        "B": ["lse: 0.667"],
    }
    rendered(found["by_camera-roc.png"])


def test_panels_are_told_apart_in_the_names_of_files() -> None:
    rows = []
    for decision in ("stm", "crf"):
        for camera in "AB":
            rows += image(camera, camera, "lse", 50, 0, decision=decision, jpeg_quality=90)
    kinds = ("f1", "roc")
    assert set(figures_of(rows)) == {f"{kind}.png" for kind in kinds} | {
        f"by_camera-{decision}-{kind}.png" for kind in kinds for decision in ("stm", "crf")
    }
    quality = photo("a", "A", "lse", RHO, jpeg_quality=90)
    records = pa.concat_tables([photo("a", "A", "lse", RHO), quality])
    found = prediction_figures(records, prediction_summary.summarise(records))
    assert list(found) == ["scatter-as_is-1.png", "scatter-JPEG_90-1.png"]


def test_f1_over_jpeg_quality() -> None:
    rows = []
    for quality, tp in ((90, 100), (70, 50), (None, 100)):
        for name in ("a", "b"):
            rows += image(name, "A", "lse", tp, 0, jpeg_quality=quality)
    found = rendered(figures_of(rows)["jpeg.png"])
    [axes] = found.axes
    assert axes.get_lines()[0].get_xydata().tolist() == [[90, 1], [70, pytest.approx(2 / 3)]]
    low, high = axes.get_xlim()
    assert low > high  # the best quality comes first, as in the papers


def test_nothing_judged_is_nothing_shown() -> None:
    assert figures_of([abstained("a", "lse", "no camera")]) == {}


def test_scatter_plots_per_camera_and_predictor_with_their_r2() -> None:
    records = pa.concat_tables(
        [
            photo("a", "A", "lse", RHO * 2, saturation=0.8),
            photo("a", "A", "cnn", RHO),
            photo("b", "B", "cnn", RHO),
        ]
    )
    summary = prediction_summary.summarise(records)
    found = prediction_figures(records, summary)
    assert list(found) == ["scatter-1.png"]
    grid = rendered(found["scatter-1.png"]).axes
    assert [axes.get_title() for axes in grid] == ["A, lse", "A, cnn", "B, lse", "B, cnn"]
    texts = [axes.texts[0].get_text() for axes in grid]
    assert texts[1:] == ["R² 1.000 (1.000)", "not evaluated", "R² 1.000 (1.000)"]
    diagonal, saturated, clear = grid[0].get_lines()
    assert diagonal.get_color() == "red"
    np.testing.assert_array_equal(*diagonal.get_xydata().T)
    np.testing.assert_array_equal(saturated.get_xydata(), np.stack([RHO, RHO * 2], axis=1))
    assert not len(clear.get_xdata())


def test_many_cameras_go_on_several_pages() -> None:
    records = pa.concat_tables([photo(c, c, "lse", RHO) for c in "ABCDEF"])
    found = prediction_figures(records, prediction_summary.summarise(records))
    assert [len(figure.axes) for figure in found.values()] == [5, 1]
