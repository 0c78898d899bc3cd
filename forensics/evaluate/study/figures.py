"""Which figures a study gets: from its summary to named plots."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
from matplotlib.figure import Figure

from forensics.evaluate.study import plots
from forensics.evaluate.study.settings import AXES, Variant

_CAMERAS = 5  # of one page of scatter plots, as in the paper
_BY_CAMERA = 4  # panels that are also shown camera by camera

Summary = Mapping[str, Any]


def prediction_figures(records: pa.Table, summary: Summary) -> dict[str, Figure]:
    """Scatter plots (Fig. 1 of the CNN-predictor paper): pages of cameras, by file name."""
    variants = summary["variants"]
    cameras = sorted({camera for variant in variants for camera in variant["cameras"]})
    together: dict[str, list[Summary]] = defaultdict(list)
    for variant, page in zip(
        variants, _labels(variants, ("jpeg_quality", "retrained")), strict=True
    ):
        together[page].append(variant)
    tags = _tags(list(together))
    pages = [cameras[start : start + _CAMERAS] for start in range(0, len(cameras), _CAMERAS)]
    return {
        f"scatter{tags[title]}-{number}.png": plots.scatter_grid(records, own, page)
        for title, own in together.items()
        for number, page in enumerate(pages, 1)
    }


def localization_figures(summary: Summary) -> dict[str, Figure]:
    """F1 over τ, ROC, F1 over JPEG quality, over all images and by camera, by file name."""
    variants = [variant for variant in summary["variants"] if variant["f1"]["n"]]
    if not variants:
        return {}
    lines = _labels(variants, ("predictor", "strategy"))
    panels = _labels(variants, ("decision", "jpeg_quality", "retrained"))
    placed = list(zip(panels, lines, variants, strict=True))
    thresholds = summary["thresholds"]
    f1: dict[str, dict[str, plots.Line]] = defaultdict(dict)
    roc: dict[str, dict[str, plots.Line]] = defaultdict(dict)
    for panel, line, variant in placed:
        f1[panel][line] = (thresholds, variant["f1"]["mean"])
        roc[panel][line] = (variant["roc"]["fpr"], variant["roc"]["tpr"])
    figures = {"f1.png": plots.f1_panels(f1), "roc.png": plots.roc_panels(roc)}
    cameras = sorted({camera for variant in variants for camera in variant["f1"]["cameras"]})
    if len(cameras) > 1 and len(f1) <= _BY_CAMERA:
        for title, tag in _tags(list(f1)).items():
            own = [(line, variant) for panel, line, variant in placed if panel == title]
            figures |= _by_camera(f"by_camera{tag}", own, cameras, thresholds)
    qualities = {variant["jpeg_quality"] for variant in variants} - {None}
    if len(qualities) > 1:
        figures["jpeg.png"] = plots.quality_panels(_over_quality(variants, lines))
    return figures


def _by_camera(
    name: str,
    variants: Sequence[tuple[str, Summary]],
    cameras: Sequence[str],
    thresholds: Sequence[float],
) -> dict[str, Figure]:
    f1: dict[str, dict[str, plots.Line]] = {camera: {} for camera in cameras}
    roc: dict[str, dict[str, plots.Line]] = {camera: {} for camera in cameras}
    for line, variant in variants:
        for camera, found in variant["f1"]["cameras"].items():
            f1[camera][line] = (thresholds, found["mean"])
            rates = variant["roc"]["cameras"][camera]
            roc[camera][line] = (rates["fpr"], rates["tpr"])
    return {f"{name}-f1.png": plots.f1_panels(f1), f"{name}-roc.png": plots.roc_panels(roc)}


def _over_quality(
    variants: Sequence[Summary], lines: Sequence[str]
) -> dict[str, dict[str, list[tuple[int, float, float, float]]]]:
    panels = _labels(variants, ("decision", "retrained"))
    points: dict[str, dict[str, list[tuple[int, float, float, float]]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for panel, line, variant in zip(panels, lines, variants, strict=True):
        if variant["jpeg_quality"] is not None:
            best = variant["f1"]["max"]
            low, high = variant["f1"]["interval"] or (best, best)
            points[panel][line].append((variant["jpeg_quality"], best, low, high))
    return points


def _labels(variants: Sequence[Summary], axes: Sequence[str]) -> list[str]:
    """What tells the variants apart along these axes, for each of them."""
    words = [
        Variant(**{axis: variant[axis] for axis in AXES if axis in variant}).words()
        for variant in variants
    ]
    varied = [axis for axis in axes if len({word[axis] for word in words}) > 1]
    return [", ".join(word[axis] for axis in varied or axes[:1]) for word in words]


def _tags(titles: Sequence[str]) -> dict[str, str]:
    """Parts of file names; nothing where there is only one title to tell."""
    return {
        title: "-" + "_".join(title.replace(",", "").split()) if len(titles) > 1 else ""
        for title in titles
    }
