"""Processes that train one network together, each on its part of every batch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from torch import Tensor, distributed


@dataclass(frozen=True, slots=True)
class Peers:
    """Which of how many processes this one is; by default it is alone."""

    rank: int = 0
    count: int = 1

    @classmethod
    def of_process_group(cls) -> Self:
        """Those of ``torch.distributed``, if it was set up."""
        if not (distributed.is_available() and distributed.is_initialized()):
            return cls()
        return cls(distributed.get_rank(), distributed.get_world_size())

    def sum_(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor by its sum over all processes; all call it with the same shapes."""
        if self.count > 1:
            for tensor in tensors:
                distributed.all_reduce(tensor)


ALONE = Peers()
