"""Plots of an evaluation. They return figures and touch no global state of matplotlib."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

_SIZE = (7.0, 4.5)  # inches
_BINS = 30


def f1_curves(curves: Mapping[str, tuple[Sequence[float], Sequence[float]]]) -> Figure:
    """Mean pixel F1 over the threshold; per detector (thresholds, F1), its maximum marked."""
    figure, axes = _axes("Pixel F1, averaged over forged images", "threshold τ", "F1")
    for name, (thresholds, f1) in curves.items():
        (line,) = axes.plot(thresholds, f1, marker=".")
        best = int(np.argmax(f1))
        line.set_label(f"{name}: {f1[best]:.3f} at τ = {thresholds[best]:.2f}")
        axes.plot(thresholds[best], f1[best], "o", color=line.get_color())
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.legend()
    return figure


def roc_curves(curves: Mapping[str, tuple[Sequence[float], Sequence[float], float]]) -> Figure:
    """ROC of the image scores; per detector (false positive rate, true positive rate, AUC)."""
    figure, axes = _axes(
        "Forged against pristine images", "false positive rate", "true positive rate"
    )
    axes.plot([0, 1], [0, 1], color="0.7", linestyle="--", label="chance")
    for name, (fpr, tpr, area) in curves.items():
        axes.plot(fpr, tpr, label=f"{name}: AUC {area:.3f}")
    axes.set(xlim=(0, 1), ylim=(0, 1.01), aspect="equal")
    axes.legend(loc="lower right")
    return figure


def boxes(groups: Mapping[str, Sequence[float]], title: str, measure: str) -> Figure:
    """One box per group (median, quartiles, whiskers at 1.5 quartile ranges), every image a dot."""
    figure, axes = _axes(title, "", measure)
    names = list(groups)
    places = np.arange(1, len(names) + 1)
    axes.boxplot([np.asarray(groups[name]) for name in names], positions=places, showfliers=False)
    for place, name in zip(places, names, strict=True):
        values = groups[name]
        spread = np.linspace(-0.15, 0.15, len(values)) if len(values) > 1 else [0.0]
        axes.plot(place + np.asarray(spread), values, ".", color="C0", alpha=0.6)
    axes.set_xticks(places, [f"{name}\nn = {len(groups[name])}" for name in names])
    axes.set_ylim(-0.02, 1.02)
    return figure


def histogram(groups: Mapping[str, Sequence[float]], title: str, quantity: str) -> Figure:
    """How a number in 0..1 is distributed in each group of images."""
    figure, axes = _axes(title, quantity, "images")
    _histograms(axes, groups, np.linspace(0, 1, _BINS + 1).tolist())
    return figure


def log_histogram(groups: Mapping[str, Sequence[float]], title: str, quantity: str) -> Figure:
    """The same for a number of any size; values below 1 (PCE of no match) count as 1."""
    figure, axes = _axes(title, f"{quantity} (1 or less at the left end)", "images")
    raised = {name: np.maximum(values, 1.0) for name, values in groups.items()}
    top = max((float(np.max(values)) for values in raised.values() if len(values)), default=1.0)
    _histograms(axes, raised, np.geomspace(1, max(top, 10.0) * 1.01, _BINS + 1).tolist())
    axes.set_xscale("log")
    return figure


def confusion_figure(confusion: ArrayLike, classes: Sequence[str], title: str) -> Figure:
    """What members of each true class (rows of counts) were said to be: their shares and counts."""
    counts = np.asarray(confusion)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    side = 2.5 + 0.7 * len(classes)
    figure = Figure(figsize=(side + 0.5, side), layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares, vmin=0, vmax=1, cmap="Blues")
    axes.set_xticks(range(len(classes)), classes, rotation=45, ha="right")
    axes.set_yticks(range(len(classes)), classes)
    axes.set(xlabel="said", ylabel="true")
    axes.set_title(title, fontsize="small")
    for (row, column), share in np.ndenumerate(shares):
        if counts[row, column]:
            colour = "white" if share > 0.5 else "black"
            text = f"{100 * share:.0f} %\n{counts[row, column]}"
            axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=9)
    return figure


def _histograms(axes: Axes, groups: Mapping[str, ArrayLike], edges: list[float]) -> None:
    for name, values in groups.items():
        axes.hist(values, bins=edges, alpha=0.6, label=f"{name}: n = {np.size(values)}")
    axes.legend()


def _axes(title: str, x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=_SIZE, layout="constrained")
    axes = figure.subplots()
    axes.set(title=title, xlabel=x, ylabel=y)
    axes.grid(alpha=0.3)
    return figure, axes
