"""Superpixels instead of windows: S-SLIC, of one size, and M-SLIC, of all sizes, fused.

Zhang, Tang, Yang, Niu 2019, doi:10.1007/s11042-019-7288-y.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from forensics.localize.cells import cell_means, cells_at
from forensics.localize.fusion import adaptive_window
from forensics.localize.gain import find_gain, judge
from forensics.localize.segments import Regions, Statistics, moments, regions, statistics
from forensics.localize.signals import LocalMaps, Signals
from forensics.localize.sizes import SizeModel
from forensics.localize.superpixels import Labels, segment_counts, superpixel_scales
from forensics.localize.windows import dense_prediction
from forensics.prnu.camera_model import WindowModel
from forensics.prnu.predictors import FeaturePredictor

_GAIN_SIDE = 128  # pixels; superpixels of about this size tell the gain of the image
_DENSE_STRIDE = 8  # of predictions that are not made from features


class _Scale(NamedTuple):
    """The superpixels of one size; predictions as of an image of gain 1."""

    labels: Labels
    found: Statistics
    rho_hat: torch.Tensor
    sigma0: torch.Tensor
    sigma1: torch.Tensor


def multi_slic(
    signals: Signals,
    models: Sequence[WindowModel],
    stride: int = 8,
    counts: Sequence[int] | None = None,
) -> LocalMaps:
    """Tampering probability of superpixels of several sizes, fused (M-SLIC).

    Superpixels of fewer pixels than the smallest window are judged together with their surround.

    Args:
        signals: the image and its fingerprint.
        models: predictor and spreads for every window size; those of a superpixel are
            interpolated at the side of a square of as many pixels.
        stride: side of a cell in pixels.
        counts: numbers of superpixels, one per scale; those as large as the windows if None.

    Raises:
        ValueError: no models, no counts, or an image without pixels.
    """
    if counts is None:
        counts = segment_counts(signals.height, signals.width, [m.window for m in models])
    if not counts:
        raise ValueError("superpixels of no size were asked for")
    scales = _scales(signals, SizeModel(models), sorted(counts, reverse=True))
    gain = _gain(scales, models, signals.height * signals.width)
    maps = torch.stack([_maps(scale, gain, stride) for scale in scales], dim=1)
    rho, rho_hat, probability = maps
    fused, accepted = adaptive_window(probability)
    index = accepted.long()[None]
    return LocalMaps(rho.gather(0, index)[0], rho_hat.gather(0, index)[0], fused, gain)


def single_slic(
    signals: Signals, models: Sequence[WindowModel], stride: int = 8, count: int = 700
) -> LocalMaps:
    """Tampering probability of about ``count`` superpixels of one size (S-SLIC).

    Otherwise as `multi_slic`.
    """
    return multi_slic(signals, models, stride, [count])


def _scales(signals: Signals, sizes: SizeModel, counts: Sequence[int]) -> list[_Scale]:
    segmented = superpixel_scales(signals.rgb, counts)
    cells = sorted({labels.cell for labels in segmented})
    finest = moments(signals, cells[0])
    by_cell = {cell: finest.coarser(cell) for cell in cells}
    dense = {
        model.window: dense_prediction(signals, model, _DENSE_STRIDE)
        for model in sizes.models
        if not isinstance(model.predictor, FeaturePredictor)
    }
    scales = []
    for labels in segmented:
        region = regions(labels, sizes.models[0].window ** 2)
        found = statistics(by_cell[labels.cell], region)
        at_windows = [
            model.predictor.predict_features(found.features)
            if isinstance(model.predictor, FeaturePredictor)
            else _mean_prediction(dense[model.window], labels, region)
            for model in sizes.models
        ]
        rho_hat = sizes.rho_hat(found.side, torch.stack(at_windows))
        spreads = sizes.sigma0(found.side), sizes.sigma1(found.side)
        scales.append(_Scale(labels, found, rho_hat, *spreads))
    return scales


def _mean_prediction(dense: torch.Tensor, labels: Labels, region: Regions) -> torch.Tensor:
    """Mean over each segment of a prediction for every cell of `_DENSE_STRIDE`: float32 (J,)."""
    rows, columns = (
        cells_at(size, labels.cell, _DENSE_STRIDE).to(dense.device)
        for size in (labels.height, labels.width)
    )
    return region.means(dense[rows[:, None], columns]).to(torch.float32)


def _gain(scales: Sequence[_Scale], models: Sequence[WindowModel], pixels: int) -> float:
    """One gain for all scales, from the one that is neither noisy nor coarse."""
    if not all(model.image_gain for model in models):
        return 1.0
    scale = min(scales, key=lambda s: abs((pixels / s.labels.count) ** 0.5 - _GAIN_SIDE))
    return find_gain(
        scale.found.rho,
        scale.rho_hat,
        scale.sigma0,
        scale.sigma1,
        scale.found.saturation,
        weights=scale.found.pixels,
    )


def _maps(scale: _Scale, gain: float, stride: int) -> torch.Tensor:
    """rho, its prediction at that gain and the probability of tampering: (3, h, w).

    Means over every cell of the maps: where superpixels meet they are less sure, which makes the
    fusion ask the next scale.
    """
    found = scale.found
    judged = judge(found.rho, gain * scale.rho_hat, scale.sigma0, scale.sigma1, found.saturation)
    pitch = max(d for d in range(1, stride + 1) if stride % d == 0 and d <= scale.labels.cell)
    at = scale.labels.at(pitch)
    return cell_means(torch.stack([found.rho, *judged])[:, at], stride // pitch)
