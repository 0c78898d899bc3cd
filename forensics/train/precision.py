"""Which numbers a network multiplies while it trains."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Literal

import torch

Precision = Literal["float32", "bfloat16"]


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[Any]:
    """Products in that precision; weights and their steps stay in float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")
