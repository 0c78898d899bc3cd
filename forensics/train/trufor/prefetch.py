"""What comes next is prepared while the network is at work."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

_AHEAD = 2  # of each thread


def prefetched(make: Callable[[T], R], items: Iterable[T], threads: int) -> Iterator[R]:
    """``map(make, items)`` in order, made by threads a few items ahead.

    What ``make`` raises is raised here, at its item's turn.
    """
    todo = iter(items)
    with ThreadPoolExecutor(threads, thread_name_prefix="prefetch") as pool:
        waiting: deque[Future[R]] = deque(
            pool.submit(make, item) for item in islice(todo, _AHEAD * threads)
        )
        try:
            while waiting:
                result = waiting.popleft().result()
                waiting.extend(pool.submit(make, item) for item in islice(todo, 1))
                yield result
        finally:
            for future in waiting:
                future.cancel()
