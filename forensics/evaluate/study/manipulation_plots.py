"""Table II as a picture. It touches no global state of matplotlib."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from forensics.evaluate.study.manipulation_summary import NAMES


def accuracy_figure(summary: Mapping[str, Any]) -> Figure:
    """Accuracy of the methods per task, a panel per size of the training set; bars show one
    standard deviation over the seeds. ``summary`` is that of `manipulation_summary`."""
    cells = summary["cells"]
    tasks = list(dict.fromkeys(cell["task"] for cell in cells))
    sizes = list(dict.fromkeys(cell["patches_per_photo"] for cell in cells))
    methods = list(dict.fromkeys(cell["method"] for cell in cells))
    figure = Figure(figsize=(3 + 0.5 * len(tasks), 3.2 * max(len(sizes), 1)), layout="constrained")
    grid = figure.subplots(max(len(sizes), 1), 1, squeeze=False, sharex=True)
    for axes, size in zip(grid[:, 0], sizes, strict=False):
        for k, method in enumerate(methods):
            own = {
                cell["task"]: cell
                for cell in cells
                if (cell["patches_per_photo"], cell["method"]) == (size, method)
            }
            shift = 0.18 * (k - (len(methods) - 1) / 2)
            axes.errorbar(
                [tasks.index(task) + shift for task in own],
                [100 * cell["accuracy"] for cell in own.values()],
                yerr=[100 * (cell["sd"] or 0.0) for cell in own.values()],
                fmt="o",
                capsize=3,
                markersize=4,
                label=NAMES[method],
            )
        axes.set(title=f"{size} patches per photo", ylabel="accuracy, %")
        axes.grid(alpha=0.3)
        axes.legend(fontsize="x-small", loc="lower left")
        axes.set_xticks(np.arange(len(tasks)), tasks, rotation=60, ha="right")
    return figure
