"""The network at every window of an image, run as convolutions: no pixel is looked at twice.

The mean over a window and the linear layer after it can change places, so every pixel gives its
own scores, and scores are what the windows add up.
"""

from __future__ import annotations

import torch
from torch import Tensor

from forensics.manipulation.codebook import soft_maps
from forensics.manipulation.descriptor import HALF
from forensics.manipulation.network import ALPHA, Branch, ResidualNetwork, normalised
from forensics.manipulation.windows import Axis, pieces, window_sums

_PIXELS = {"cpu": 1 << 17}  # of a strip, whose maps are held at once
_PIXELS_ELSEWHERE = 1 << 20


@torch.inference_mode()
def dense_scores(network: ResidualNetwork, plane: Tensor, stride: int) -> Tensor:
    """Scores of the classes for every window.

    Args:
        network: weights on the device of ``plane``.
        plane: uint8 (H, W), at least the network's window.
        stride: pixels between windows.

    Returns:
        float32 (rows, columns, classes): entry (i, j) is `ResidualNetwork.forward` of the window
        whose corner is ``(top + i*stride, left + j*stride)``, with the corner and the counts of
        `windows.Axis`.

    Raises:
        ValueError: an image smaller than the window, a stride below 1, not uint8 (H, W).
    """
    if plane.ndim != 2 or plane.dtype != torch.uint8:
        raise ValueError(f"needs uint8 (H, W), got {plane.dtype} {tuple(plane.shape)}")
    window = network.settings.window
    axes = [Axis.of(size, window, stride) for size in plane.shape]
    covered = plane[tuple(axis.covered(window, stride) for axis in axes)]
    weight, bias = network.linear()
    windows = bias.to(torch.float64)[:, None, None]
    for number, branch in enumerate(network.branches):
        part = weight[:, number * HALF : (number + 1) * HALF]
        sums: Tensor | float = 0.0
        places = 0
        for transposed in (False, True):
            kernel = branch.filters.mT.shape[2:] if transposed else branch.filters.shape[2:]
            extent = window - kernel[0] + 1, window - kernel[1] + 1
            grid = _piece_scores(branch, part, covered, extent, stride, transposed)
            down = window_sums(grid, extent[0], stride, axes[0].count, 1)
            sums = sums + window_sums(down, extent[1], stride, axes[1].count, 2)
            places += extent[0] * extent[1]
        windows = windows + sums / places
    return windows.movedim(0, 2).to(torch.float32)


def _piece_scores(
    branch: Branch,
    weight: Tensor,
    plane: Tensor,
    extent: tuple[int, int],
    stride: int,
    transposed: bool,
) -> Tensor:
    """Sums of the pixels' scores over the pieces that windows are made of: (classes, P, Q)."""
    reach = branch.filters.shape[3 if transposed else 2]
    most = _PIXELS.get(plane.device.type, _PIXELS_ELSEWHERE)
    step = max(1, most // plane.shape[1] // stride) * stride
    strips = []
    for top in range(0, plane.shape[0] - reach + 1, step):
        x = normalised(plane[top : top + step + reach - 1])
        residuals = branch.residuals(x[None], transposed)[0]
        maps = soft_maps(
            residuals.flatten(1), branch.codewords, branch.biases, ALPHA, weight
        ).reshape(len(weight), *residuals.shape[1:])
        strips.append(pieces(pieces(maps, extent[0], stride, 1), extent[1], stride, 2))
    return torch.cat(strips, 1)
