"""Wide intermediate results are made and used up a strip of rows at a time.

Strips do not overlap and nothing is computed twice: a 3x3 convolution keeps the last two rows it
was given and continues there. So the result is that of the whole image.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor
from torch.nn.functional import conv2d

_STRIP_BYTES = {"cpu": 16 * 2**20}  # stays in the caches, and below what malloc returns to the OS
_STRIP_BYTES_GPU = 512 * 2**20  # fills the device


def strips(height: int, row_values: int, device: torch.device) -> Iterator[slice]:
    """Rows 0..height in strips, of which a float32 result of ``row_values`` per row fits."""
    budget = _STRIP_BYTES.get(device.type, _STRIP_BYTES_GPU)
    rows = max(1, budget // (4 * row_values))
    for start in range(0, height, rows):
        yield slice(start, min(start + rows, height))


def block_diagonal(blocks: Iterable[Tensor]) -> Tensor:
    """Matrices along the diagonal of one, zero elsewhere."""
    matrix: Tensor = torch.block_diag(*blocks)  # type: ignore[no-untyped-call]
    return matrix


class RowConvolution:
    """A 3x3 convolution, zero-padded at the image's edges, that is given the image in strips.

    Rows (1, r, W, C) go in by `push`. What comes out lags by one row until the last strip; the
    outputs in a row are the convolution of the whole, of its ReLU where ``rectified``. For one
    image: make another for the next.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor | None, groups: int = 1, rectified: bool = False
    ) -> None:
        self._weight, self._bias, self._groups = weight, bias, groups
        self._rectified = rectified
        self._kept: Tensor | None = None

    def push(self, rows: Tensor, last: bool) -> Tensor:
        """Output rows (1, n, W, C') that can be told by now; ``last`` with the image's last row."""
        kept = rows.new_zeros(1, 1, *rows.shape[2:]) if self._kept is None else self._kept
        start, count = kept.shape[1], rows.shape[1]
        x = rows.new_empty(1, start + count + last, *rows.shape[2:])
        x[:, :start] = kept
        new = x[:, start : start + count]
        if self._rectified:
            torch.clamp_min(rows, 0, out=new)  # a ReLU and the copy in one pass
        else:
            new.copy_(rows)
        x[:, start + count :] = 0
        self._kept = x[:, -2:].clone()
        if x.shape[1] < 3:
            return rows.new_empty(1, 0, rows.shape[2], len(self._weight))
        y = conv2d(x.permute(0, 3, 1, 2), self._weight, self._bias, 1, (0, 1), 1, self._groups)
        return y.permute(0, 2, 3, 1)
