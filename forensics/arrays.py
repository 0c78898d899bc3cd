"""One rule for numeric functions: a NumPy array in gives a NumPy array out, a tensor gives a tensor
on the same device. The work itself is always torch."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

Array = TypeVar("Array", NDArray[Any], torch.Tensor)


def to_tensor(x: NDArray[Any] | torch.Tensor) -> torch.Tensor:
    """The array as a tensor, sharing memory where it can. Read-only arrays are copied."""
    if isinstance(x, torch.Tensor):
        return x
    return torch.from_numpy(np.ascontiguousarray(x) if x.flags.writeable else np.array(x))


def like(reference: Array, result: torch.Tensor) -> Array:
    """``result`` as the same kind of array as ``reference``."""
    return result if isinstance(reference, torch.Tensor) else result.cpu().numpy()
