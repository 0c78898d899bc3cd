"""Figures of the study of the origin. They touch no global state of matplotlib."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from forensics.evaluate.study.origin_summary import NAMES, ORIGINAL
from forensics.origin.filters import CHANNELS, mosaic

_PANELS = {
    "JPEG compression": ("jpeg",),
    "scaling": ("scale",),
    "rotation and flipping": ("rotate", "flip"),
    "contrast stretching": ("contrast",),
}


def robustness_figure(summary: Mapping[str, Any]) -> Figure | None:
    """Fig. 5: accuracy of images (classes alike) over what they underwent; a panel per kind.

    None where the study had no such operation.
    """
    rows = [row for row in summary["rows"] if row["levelled"]]
    kinds = {row["operation"].partition("-")[0] for row in rows}
    panels = {title: own for title, own in _PANELS.items() if kinds & set(own)}
    if not panels:
        return None
    figure = Figure(figsize=(4.2 * len(panels), 3.8), layout="constrained")
    for axes, (title, own) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True
    ):
        names = [ORIGINAL]
        names += [r["operation"] for r in rows if r["operation"].partition("-")[0] in own]
        names = list(dict.fromkeys(names))
        for method in dict.fromkeys(row["method"] for row in rows):
            values = {r["operation"]: r["balanced_accuracy"] for r in rows if r["method"] == method}
            points = [
                (k, 100 * values[n]) for k, n in enumerate(names) if values.get(n) is not None
            ]
            axes.plot(*zip(*points, strict=True), marker="o", markersize=4, label=NAMES[method])
        chance = 100 / len(summary["classes"])
        axes.axhline(chance, color="0.7", linestyle="--", linewidth=1)
        shown = [n if n == ORIGINAL else n.partition("-")[2] for n in names]
        axes.set_xticks(range(len(names)), shown, rotation=45, ha="right")
        axes.set(title=title, ylim=(0, 102), ylabel="accuracy of images, classes alike, %")
        axes.grid(alpha=0.3)
        axes.legend(fontsize="x-small", loc="lower left")
    return figure


def filters_figure(weights: NDArray[np.float32], title: str) -> Figure:
    """Fig. 6: the first layer's filters, (filters, 3, k, k), a panel per channel."""
    figure = Figure(figsize=(9.5, 3.6), layout="constrained")
    figure.suptitle(title)
    limit = float(np.abs(weights).max()) or 1.0
    for channel, axes in enumerate(figure.subplots(1, 3)):
        axes.imshow(mosaic(weights, channel), cmap="gray", vmin=-limit, vmax=limit)
        axes.set_title(CHANNELS[channel])
        axes.set_axis_off()
    return figure
