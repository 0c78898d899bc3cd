"""Segmentation-guided sliding window (SW-SG): of each window only what looks like its centre.

Korus and Huang 2017 (doi:10.1109/TIFS.2016.2636089): pixels whose mean absolute difference of
colour to the centre is below a threshold, closed with a disk, of these the connected component of
the centre, dilated until it is large enough. Spreads and prediction are those of a region of that
many pixels. Threshold, closing and the step of the dilation (8 and 4 pixels of 128) are the
defaults of the authors' toolbox; its regions reach 64 x 64 pixels at least, and its prediction is
that for the whole window.

It all happens on a grid of 32 x 32 blocks of a window, each of them taken as its mean colour. A
column of such a grid is the bits of one integer, so that morphology is a few shifts per column.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from forensics.localize.cells import cell_means
from forensics.localize.gain import find_gain, judge
from forensics.localize.signals import LocalMaps, Signals
from forensics.localize.sizes import SizeModel
from forensics.localize.windows import dense_prediction
from forensics.prnu.camera_model import WindowModel
from forensics.prnu.predictors import FeaturePredictor
from forensics.records import UserError

SIMILAR = 20.0
"""Default bound of the mean absolute difference of colour, of 0..255."""

_GRID = 32  # blocks along a window
_ALL = (1 << _GRID) - 1
_CLOSING = 2  # blocks, the radius of the disk
_VANISHING = 1e-6  # variance over mean square that float32 cannot tell from zero


def segment_guided(
    signals: Signals,
    models: Sequence[WindowModel],
    stride: int = 8,
    window: int = 128,
    threshold: float = SIMILAR,
    smallest: int = 32,
) -> LocalMaps:
    """Tampering probability of the pixels around every cell that look like its centre.

    Windows lie on a grid of blocks of ``window/32`` pixels: where the centre of a cell is not on
    it, the window is off by less than a block.

    Args:
        signals: the image and its fingerprint.
        models: predictor and spreads for every window size.
        stride: side of a cell in pixels.
        window: side of the window in pixels, a multiple of 32.
        threshold: mean absolute difference of colour, of 0..255, below which blocks are alike.
        smallest: side in pixels of the square whose area every region reaches at least, unless
            the window has less of the image.

    Raises:
        UserError: ``window`` is not a multiple of 32.
        ValueError: no model, two of one size, or a threshold that is not above 0.
    """
    if window < _GRID or window % _GRID:
        raise UserError(f"the guided window must be a multiple of {_GRID} px, got {window}")
    if not threshold > 0:
        raise ValueError(f"the threshold of what is alike must be above 0, got {threshold}")
    sizes = SizeModel(models)
    block = window // _GRID
    planes = _block_sums(signals, block)
    centres = [
        (torch.arange(-(-size // stride)) * stride + stride // 2).clamp(max=size - 1) // block
        for size in (signals.height, signals.width)
    ]
    colour = _padded(torch.stack([cell_means(c, block) for c in signals.rgb.movedim(-1, 0)], -1))
    sums = torch.stack(
        [
            _row_sums(colour, planes, int(y), centres[1].to(planes.device), threshold, smallest**2)
            for y in centres[0]
        ]
    )
    return _judged(signals, sizes, stride, sums)


def _block_sums(signals: Signals, block: int) -> torch.Tensor:
    """Sums over blocks of: pixels, W, Z, WW, ZZ, WZ, saturation, the features. Padded."""
    w, z = signals.W - signals.W.mean(), signals.Z - signals.Z.mean()
    products = (torch.ones_like(w), w, z, w * w, z * z, w * z, signals.saturation)
    means = torch.stack([cell_means(p, block) for p in (*products, *signals.features)], dim=-1)
    rows, columns = (
        (size - torch.arange(0, size, block)).clamp(max=block) for size in signals.W.shape
    )
    return _padded(means * torch.outer(rows, columns).to(means)[..., None])


def _padded(x: torch.Tensor) -> torch.Tensor:
    """(h, w, K) with zeros around the image, so that every window lies inside."""
    half = _GRID // 2
    return torch.nn.functional.pad(x, (0, 0, half, half, half, half))


def _row_sums(
    colour: torch.Tensor,
    planes: torch.Tensor,
    y: int,
    x: torch.Tensor,
    threshold: float,
    pixels: int,
) -> torch.Tensor:
    """Sums of the planes over the chosen blocks of the windows centred at blocks (y, x): (n, K)."""
    columns = (x[:, None] + torch.arange(_GRID, device=x.device)).flatten()

    def windows(planes: torch.Tensor) -> torch.Tensor:
        """(n, 32 columns, 32 rows, K): whole columns are copied at once."""
        strip = planes[y : y + _GRID].transpose(0, 1).contiguous()
        return strip.index_select(0, columns).view(len(x), _GRID, *strip.shape[1:])

    around = windows(colour)
    half = _GRID // 2
    difference = (around - around[:, half, None, half, None]).abs_().mean(dim=-1)
    around = windows(planes)
    inside = around[..., 0] > 0
    alike = (difference < threshold) & inside
    chosen = _region(_pack(alike), _pack(inside), around[..., 0].flatten(1), pixels)
    mask = _unpack(chosen).flatten(1).to(around)
    return torch.bmm(mask[:, None], around.flatten(1, 2))[:, 0]


def _region(
    alike: torch.Tensor, inside: torch.Tensor, counts: torch.Tensor, pixels: int
) -> torch.Tensor:
    """The connected region of the centre, grown to a number of pixels; all as packed columns.

    Args:
        alike: (n, 32) blocks like the centre.
        inside: (n, 32) blocks inside the image; beyond it nothing is known either way.
        counts: (n, 32 * 32) pixels of every block.
        pixels: what a region must have.
    """
    closed = alike
    for _ in range(_CLOSING):
        closed = _dilate(closed) & inside
    for _ in range(_CLOSING):
        closed = inside & ~_dilate(inside & ~closed)
    centre = torch.zeros_like(alike)
    centre[:, _GRID // 2] = 1 << (_GRID // 2)
    region, grown = centre, _dilate(centre, diagonal=True) & closed
    while not torch.equal(region, grown):
        region, grown = grown, _dilate(grown, diagonal=True) & closed
    while True:
        held = torch.bmm(_unpack(region).flatten(1).to(counts)[:, None], counts[..., None])
        grown = _dilate(region) & inside
        grown = torch.where(held[..., 0] < pixels, grown, region)
        if torch.equal(region, grown):
            return region
        region = grown


def _dilate(lines: torch.Tensor, diagonal: bool = False) -> torch.Tensor:
    """By one block to the 4 neighbours, or to all 8."""
    wide = (lines | lines << 1 | lines >> 1) & _ALL
    tall = wide if diagonal else lines
    out = wide.clone()
    out[:, 1:] |= tall[:, :-1]
    out[:, :-1] |= tall[:, 1:]
    return out


def _pack(mask: torch.Tensor) -> torch.Tensor:
    """bool (..., 32) to int64 (...)."""
    return (mask.long() << torch.arange(_GRID, device=mask.device)).sum(dim=-1)


def _unpack(lines: torch.Tensor) -> torch.Tensor:
    """int64 (...) to 0 and 1 (..., 32)."""
    return lines[..., None] >> torch.arange(_GRID, device=lines.device) & 1


def _judged(signals: Signals, sizes: SizeModel, stride: int, sums: torch.Tensor) -> LocalMaps:
    """From the sums (h, w, K) over the region of every cell to its maps."""
    flat = sums.flatten(0, 1)
    pixels = flat[:, 0]
    w, z, ww, zz, wz, saturation, *features = (flat[:, 1:] / pixels[:, None]).unbind(dim=1)
    variances = [s - m * m for s, m in ((ww, w), (zz, z))]
    there = (variances[0] > _VANISHING * ww) & (variances[1] > _VANISHING * zz)
    rho = torch.where(there, (wz - w * z) / (variances[0] * variances[1]).clamp(min=0).sqrt(), 0.0)
    rho = rho.clamp(-1, 1)
    seen = torch.stack(features, dim=1)
    at_windows = torch.stack(
        [
            model.predictor.predict_features(seen).clamp(min=0)
            if isinstance(model.predictor, FeaturePredictor)
            else dense_prediction(signals, model, stride).flatten()
            for model in sizes.models
        ]
    )
    side = pixels.sqrt()
    rho_hat = sizes.rho_hat(side, at_windows)
    sigma0, sigma1 = sizes.sigma0(side), sizes.sigma1(side)
    gain = 1.0
    if all(model.image_gain for model in sizes.models):
        gain = find_gain(rho, rho_hat, sigma0, sigma1, saturation, pixels)
    rho_hat, probability = judge(rho, gain * rho_hat, sigma0, sigma1, saturation)
    shape = sums.shape[:2]
    return LocalMaps(rho.view(shape), rho_hat.view(shape), probability.view(shape), gain)
