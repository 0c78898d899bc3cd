"""Plots of trained predictors. They touch no global state of matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

POINTS = 4000  # shown in a scatter plot

Floats = NDArray[np.float32]


def thinned(rho: Floats, rho_hat: Floats) -> tuple[Floats, Floats]:
    """At most `POINTS` of the pairs, always the same ones."""
    if len(rho) <= POINTS:
        return rho, rho_hat
    chosen = np.random.default_rng(0).choice(len(rho), POINTS, replace=False)
    return rho[chosen], rho_hat[chosen]


def scatter(title: str, rho: Floats, rho_hat: Floats, adjusted_r2: float) -> Figure:
    """Predicted over real correlations of blocks; on the red line a prediction is right."""
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.subplots()
    axes.plot(rho, rho_hat, ".", markersize=2, alpha=0.4)
    ends = [
        float(min(rho.min(initial=0), 0)),
        float(max(rho.max(initial=0), rho_hat.max(initial=0))),
    ]
    axes.plot(ends, ends, color="red", linewidth=1)
    axes.text(0.04, 0.96, f"adjusted R² {adjusted_r2:.3f}", transform=axes.transAxes, va="top")
    axes.set(xlabel="real correlation", ylabel="predicted correlation", title=title)
    axes.grid(alpha=0.3)
    return figure


def comparison(results: Sequence[dict[str, Any]]) -> Figure:
    """Adjusted R² of all predictors of a job."""
    figure = Figure(figsize=(7, 1 + 0.35 * max(len(results), 2)), layout="constrained")
    axes = figure.subplots()
    names = [result["name"] for result in results]
    axes.barh(names, [result["adjusted_r2"] for result in results])
    axes.invert_yaxis()
    axes.set(xlabel="adjusted R² on blocks not trained on", title="Correlation predictors")
    axes.grid(alpha=0.3, axis="x")
    return figure
