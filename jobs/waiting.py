"""Waiting for Ray tasks, with their progress."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import ray

from jobs.progress import Progress


def wait_for(tasks: Iterable[Any], unit: str, sizes: Mapping[Any, int] | None = None) -> None:
    """Returns when all tasks have ended, well or not; what they return stays where it is.

    Args:
        tasks: references of what they return, one each.
        unit: what is counted.
        sizes: how many of the unit each of the tasks stands for [one].
    """
    left = list(tasks)
    sizes = sizes or dict.fromkeys(left, 1)
    with Progress(total=sum(sizes.values()), unit=unit) as progress:
        while left:
            [done], left = ray.wait(left, fetch_local=False)
            progress.add(sizes[done])
