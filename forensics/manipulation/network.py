"""The residual descriptor and its classifier as a network, which can be trained as a whole."""

from __future__ import annotations

import itertools
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from forensics.manipulation.base import NetworkSettings, PatchNetwork
from forensics.manipulation.codebook import hard_histogram, soft_histogram
from forensics.manipulation.descriptor import BINS, FILTER, HALF, RUN, STEP

WHITE = 255.0  # the grey level that enters as 1
ALPHA = float(2**16)
"""Steepness of the soft-max, for pixels in 0..1 (section 4 of the paper)."""


class Branch(nn.Module):
    """One half of the descriptor: four filters, and codewords for what the four give at a place."""

    def __init__(self, kernel: tuple[int, int], step: tuple[int, int]) -> None:
        """``step``: rows and columns from one filter to the next."""
        super().__init__()
        filters = torch.zeros(RUN, 1, *kernel)
        for n in range(RUN):
            row, column = n * step[0], n * step[1]
            filters[n, 0, row, column : column + len(FILTER)] = torch.tensor(FILTER)
        step_size = STEP / WHITE
        levels = (-step_size, 0.0, step_size)
        codewords = torch.tensor(list(itertools.product(levels, repeat=RUN)))
        self.filters = nn.Parameter(filters)
        self.codewords = nn.Parameter(codewords)
        self.biases = nn.Parameter(-codewords.square().sum(1) / 2)

    def residuals(self, x: Tensor, transposed: bool = False, step: int = 1) -> Tensor:
        """(B, 4, h, w) for (B, H, W) in 0..1, at places where the kernel lies in the image.

        ``transposed``: what the transpose of the image gives, transposed back. ``step``: every
        ``step``-th place along either side.
        """
        filters = self.filters.mT if transposed else self.filters
        # TF32 would carry residuals over the thresholds.
        with torch.backends.cudnn.flags(allow_tf32=False):
            return conv2d(x[:, None], filters, stride=step)


class ResidualNetwork(PatchNetwork):
    """The network of Cozzolino, Poggi, Verdoliva 2017 (doi:10.1145/3082031.3083247, section 3).

    Two branches of [4 filters, 81 codewords, soft-max, mean], each for the image and for its
    transpose, and a linear layer on the 162 means. As constructed, filters, codewords and biases
    are those of the descriptor, so that `counts` is `descriptor.srm_histogram`; only the linear
    layer knows nothing yet. Patches may have any size from 7 pixels.

    The linear layer works on features of mean 0 and deviation 1 by the moments in ``feature_mean``
    and ``feature_scale``. Filters are as large as the descriptor needs, 4×4 across and 1×7 along;
    the paper's are all 5×5, in which four shifts along the filter have no room.
    """

    thins: ClassVar[bool] = True
    feature_mean: Tensor
    feature_scale: Tensor

    def __init__(self, settings: NetworkSettings) -> None:
        super().__init__(settings)
        reach = len(FILTER) + RUN - 1
        self.across = Branch((RUN, len(FILTER)), (1, 0))
        self.along = Branch((1, reach), (0, 1))
        self.classifier = nn.Linear(BINS, len(settings.classes))
        nn.init.zeros_(self.classifier.weight)
        nn.init.zeros_(self.classifier.bias)
        self.register_buffer("feature_mean", torch.full((BINS,), 1 / HALF))
        self.register_buffer("feature_scale", torch.ones(BINS))

    @property
    def head(self) -> nn.Linear:
        return self.classifier

    @property
    def branches(self) -> tuple[Branch, Branch]:
        """In the order of their features."""
        return self.across, self.along

    def forward(self, pixels: Tensor, step: int = 1) -> Tensor:
        return self.classify(self.features(pixels, step))

    def features(self, pixels: Tensor, step: int = 1) -> Tensor:
        """float32 (B, 162): shares of the codewords, 1 in sum for either half."""
        x, halves = normalised(pixels), []
        for branch in self.branches:
            fields = [branch.residuals(x, turned, step).flatten(2) for turned in (False, True)]
            sums = [soft_histogram(f, branch.codewords, branch.biases, ALPHA) for f in fields]
            halves.append((sums[0] + sums[1]) / sum(field.shape[2] for field in fields))
        return torch.cat(halves, 1)

    @torch.no_grad()
    def counts(self, pixels: Tensor) -> Tensor:
        """int64 (B, 162): how often every codeword is the best, as hard-max has it."""
        x, halves = normalised(pixels), []
        for branch in self.branches:
            fields = [branch.residuals(x, turned).flatten(2) for turned in (False, True)]
            counts = [hard_histogram(f, branch.codewords, branch.biases) for f in fields]
            halves.append(counts[0] + counts[1])
        return torch.cat(halves, 1)

    def classify(self, features: Tensor) -> Tensor:
        """float32 (B, classes) scores from (B, 162) features."""
        scores: Tensor = self.classifier((features - self.feature_mean) / self.feature_scale)
        return scores

    def linear(self) -> tuple[Tensor, Tensor]:
        """(classes, 162) weights and (classes,) biases of the features as they are."""
        weight = self.classifier.weight / self.feature_scale
        return weight, self.classifier.bias - weight @ self.feature_mean


def normalised(pixels: Tensor) -> Tensor:
    """Grey levels as the filters take them, 0..1."""
    return pixels.to(torch.float32) / WHITE
