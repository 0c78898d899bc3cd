"""A contact sheet: what a network makes of images that it was not trained on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

_INCHES = 2.2  # of one picture


def contact_sheet(samples: Sequence[tuple[str, dict[str, Any]]], title: str) -> Figure:
    """One row per image, one column per plane.

    Args:
        samples: title and planes of each, uint8 (H, W, 3) or float32 (H, W). Probabilities are
            shown from 0 to 1, ``noiseprint`` from its own lowest to its highest.
        title: of the sheet.
    """
    columns = len(samples[0][1]) if samples else 1
    figure = Figure(
        figsize=(_INCHES * columns, 0.6 + _INCHES * max(len(samples), 1)), layout="constrained"
    )
    figure.suptitle(title)
    grid = figure.subplots(max(len(samples), 1), columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for row, (name, planes) in zip(grid, samples, strict=False):
        for axes, (what, plane) in zip(row, planes.items(), strict=True):
            limits = {} if what == "noiseprint" else {"vmin": 0, "vmax": 1}
            axes.imshow(plane, cmap="gray" if what in ("truth", "noiseprint") else None, **limits)
            axes.set_title(what, fontsize=8)
        row[0].set_title(f"{name}\n{next(iter(planes))}", fontsize=7)
    return figure
