"""Prefetching: order, errors at their turn, and never far ahead."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from forensics.train.trufor.prefetch import prefetched


def test_order_is_kept_and_items_are_taken_as_they_are_needed() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    results = prefetched(lambda number: number**2, items(), threads=3)
    assert [next(results) for _ in range(10)] == [n**2 for n in range(10)]
    assert len(taken) <= 10 + 2 * 3
    assert list(results) == [n**2 for n in range(10, 100)]


def test_an_error_is_raised_at_its_turn_and_ends_the_threads() -> None:
    def make(number: int) -> int:
        if number == 3:
            raise KeyError("no third")
        return number

    results = prefetched(make, range(9), threads=2)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(KeyError, match="no third"):
        next(results)
    assert not [t for t in threading.enumerate() if t.name.startswith("prefetch")]
