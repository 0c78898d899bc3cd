"""Plots show the numbers they are given, and leave matplotlib as it was."""

from __future__ import annotations

import io
import sys

import matplotlib as mpl
import numpy as np
import pytest

from forensics.evaluate import plots


def texts(figure):
    (axes,) = figure.axes
    legend = axes.get_legend()
    return [text.get_text() for text in legend.get_texts()] if legend else []


@pytest.fixture(autouse=True)
def _no_global_state():
    before = dict(mpl.rcParams)
    yield
    assert dict(mpl.rcParams) == before
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or not pyplot.get_fignums()


def rendered(figure):
    """The picture; drawing it would warn, and so fail, on missing glyphs or bad limits."""
    file = io.BytesIO()
    figure.savefig(file, format="png")
    assert file.getvalue().startswith(b"\x89PNG")
    return figure


def test_f1_curves_mark_their_maximum():
    figure = rendered(plots.f1_curves({"prnu": ([0.2, 0.4, 0.6], [0.1, 0.8, 0.3])}))
    assert texts(figure) == ["prnu: 0.800 at τ = 0.40"]
    curve, mark = figure.axes[0].get_lines()
    np.testing.assert_array_equal(curve.get_xydata(), [[0.2, 0.1], [0.4, 0.8], [0.6, 0.3]])
    np.testing.assert_array_equal(mark.get_xydata(), [[0.4, 0.8]])


def test_roc_curves_name_their_area():
    figure = rendered(plots.roc_curves({"prnu": ([0, 0, 1], [0, 1, 1], 1.0)}))
    assert texts(figure) == ["chance", "prnu: AUC 1.000"]


def test_boxes_show_every_image_and_the_number_of_them():
    groups = {"copy-move": [0.1, 0.2, 0.9], "splice": [0.5]}
    figure = rendered(plots.boxes(groups, "F1 by kind", "F1"))
    labels = [tick.get_text() for tick in figure.axes[0].get_xticklabels()]
    assert labels == ["copy-move\nn = 3", "splice\nn = 1"]
    shown = np.concatenate(
        [line.get_ydata() for line in figure.axes[0].get_lines() if line.get_marker() == "."]
    )
    assert sorted(shown) == [0.1, 0.2, 0.5, 0.9]


def test_histograms_hold_every_image():
    figure = rendered(plots.histogram({"forged": [0.0, 0.5, 1.0], "pristine": [0.1]}, "x", "score"))
    assert texts(figure) == ["forged: n = 3", "pristine: n = 1"]
    assert sum(bar.get_height() for bar in figure.axes[0].patches) == 4


def test_log_histograms_hold_small_negative_and_huge_values():
    values = {"ok": [60.0, 5e4], "not_applicable": [-3.0, 0.0, 1.0]}
    figure = rendered(plots.log_histogram(values, "x", "PCE"))
    assert sum(bar.get_height() for bar in figure.axes[0].patches) == 5
    assert figure.axes[0].get_xscale() == "log"


def test_a_confusion_shows_the_shares_of_each_true_class():
    figure = rendered(plots.confusion_figure([[2, 1], [0, 0]], ("a", "b"), "title"))
    texts = {text.get_position(): text.get_text() for text in figure.axes[0].texts}
    assert texts == {(0, 0): "67 %\n2", (1, 0): "33 %\n1"}
    assert [tick.get_text() for tick in figure.axes[0].get_yticklabels()] == ["a", "b"]
