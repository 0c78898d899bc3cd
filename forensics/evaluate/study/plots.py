"""The papers' figures from the numbers of a study. They touch no global state of matplotlib."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from forensics.evaluate.study.outcomes import shown
from forensics.prnu.saturation import SATURATED
from forensics.records import Status

Line = tuple[Sequence[float], Sequence[float]]
Panels = Mapping[str, Mapping[str, Line]]
"""Title of a panel -> name of a line -> (x, y)."""

_SIDE = 3.6  # inches, of a panel
_POINTS = 2000  # shown in one scatter plot
_CLOSE_UP = 0.3  # false positive rate up to which a ROC is shown


def scatter_grid(
    records: pa.Table, variants: Sequence[Mapping[str, Any]], cameras: Sequence[str]
) -> Figure:
    """Predicted over measured correlation: a row per camera, a column per variant.

    The red line is a perfect prediction; saturated blocks are grey. In the corner adjusted R², in
    brackets without saturated blocks. ``records`` are of a prediction study, ``variants`` those of
    its summary.
    """
    figure, grid = _grid(len(cameras), len(variants))
    good = records.filter(pc.equal(records["status"], str(Status.OK)))
    for row, camera in zip(grid, cameras, strict=True):
        own = good.filter(pc.equal(good["camera_id"], camera))
        limit = max(float(pc.max(own["rho"]).as_py() or 0), 0.01) * 1.1
        for axes, variant in zip(row, variants, strict=True):
            found = variant["cameras"].get(camera)
            axes.set_title(f"{camera}, {variant['name']}", fontsize="small")
            axes.plot([0, limit], [0, limit], color="red", linewidth=1, zorder=3)
            axes.set(xlim=(-limit / 10, limit), ylim=(-limit / 20, limit))
            if found is None:
                axes.text(0.05, 0.95, "not evaluated", va="top", transform=axes.transAxes)
                continue
            _scatter(axes, own.filter(_of(own, variant)))
            text = f"R² {shown(found['r2'])} ({shown(found['r2_unsaturated'])})"
            axes.text(0.05, 0.95, text, va="top", transform=axes.transAxes, zorder=4)
    for axes in grid[-1]:
        axes.set_xlabel("measured correlation")
    for row in grid:
        row[0].set_ylabel("predicted")
    return figure


def f1_panels(panels: Panels) -> Figure:
    """Average F1 over the threshold; its maximum is in the legend and marked."""
    figure, axes_of = _panels(panels, "threshold τ", "average F1")
    for title, lines in panels.items():
        axes = axes_of[title]
        for name, (thresholds, f1) in lines.items():
            best = int(np.argmax(f1))
            (line,) = axes.plot(thresholds, f1, label=f"{name}: {f1[best]:.3f}")
            axes.plot(thresholds[best], f1[best], "o", color=line.get_color(), markersize=4)
        axes.set(xlim=(0, 1), ylim=(0, 1))
        _legend(axes)
    return figure


def roc_panels(panels: Panels) -> Figure:
    """Close-up of the ROC of pixels, averaged over images; one dot per threshold."""
    figure, axes_of = _panels(panels, "false positive rate", "true positive rate")
    for title, lines in panels.items():
        axes = axes_of[title]
        for name, (fpr, tpr) in lines.items():
            axes.plot(fpr, tpr, marker=".", label=name)
        axes.set(xlim=(0, _CLOSE_UP), ylim=(0, 1))
        _legend(axes)
    return figure


def quality_panels(
    panels: Mapping[str, Mapping[str, Sequence[tuple[int, float, float, float]]]],
) -> Figure:
    """Maximum average F1 over JPEG quality: per line (quality, F1, low, high), low ones last."""
    figure, axes_of = _panels(panels, "JPEG quality", "maximum average F1")
    for title, lines in panels.items():
        axes = axes_of[title]
        for name, points in lines.items():
            quality, f1, low, high = (np.asarray(column) for column in zip(*points, strict=True))
            errors = [np.maximum(f1 - low, 0), np.maximum(high - f1, 0)]
            axes.errorbar(quality, f1, yerr=errors, marker="o", capsize=3, label=name)
        axes.set_ylim(0, 1)
        axes.invert_xaxis()
        _legend(axes)
    return figure


def _scatter(axes: Axes, records: pa.Table) -> None:
    rho, rho_hat, saturation = (
        records[name].to_numpy() for name in ("rho", "rho_hat", "saturation")
    )
    step = max(1, len(rho) // _POINTS)
    for name, mine, colour in (
        ("saturated", saturation >= SATURATED, "0.6"),
        ("", saturation < SATURATED, "C0"),
    ):
        some = np.flatnonzero(mine)[::step]
        axes.plot(rho[some], rho_hat[some], ".", color=colour, markersize=2, alpha=0.5, label=name)


def _of(records: pa.Table, variant: Mapping[str, Any]) -> pa.ChunkedArray:
    """Where records belong to a variant."""
    quality = variant["jpeg_quality"]
    column = records["jpeg_quality"]
    of_quality = pc.is_null(column) if quality is None else pc.equal(column, quality)
    mine = pc.and_(
        pc.equal(records["predictor"], variant["predictor"]),
        pc.equal(records["retrained"], variant["retrained"]),
    )
    return pc.and_(mine, pc.fill_null(of_quality, False))


def _panels(panels: Mapping[str, Any], x: str, y: str) -> tuple[Figure, dict[str, Axes]]:
    columns = min(3, max(1, len(panels)))
    figure, grid = _grid(-(-len(panels) // columns), columns)
    places = [axes for row in grid for axes in row]
    for axes in places[len(panels) :]:
        axes.remove()
    named = dict(zip(panels, places, strict=False))
    for title, axes in named.items():
        axes.set(title=title, xlabel=x, ylabel=y)
        axes.grid(alpha=0.3)
    return figure, named


def _grid(rows: int, columns: int) -> tuple[Figure, list[list[Axes]]]:
    size = (columns * _SIDE * 1.2, max(rows, 1) * _SIDE)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(max(rows, 1), columns, squeeze=False)
    return figure, [list(row) for row in grid]


def _legend(axes: Axes) -> None:
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize="x-small")
