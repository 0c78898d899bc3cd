"""Products in another precision, weights in the same."""

from __future__ import annotations

import torch
from torch import nn

from forensics.train.precision import Precision, autocast


def test_products_are_in_that_precision_and_weights_stay() -> None:
    layer, x, cpu = nn.Linear(8, 8), torch.ones(2, 8), torch.device("cpu")
    made: dict[Precision, torch.dtype] = {}
    for precision in ("float32", "bfloat16"):
        with autocast(cpu, precision):
            made[precision] = layer(x).dtype
    assert made == {"float32": torch.float32, "bfloat16": torch.bfloat16}
    assert layer.weight.dtype == torch.float32
