"""How far a long job is: a bar on a terminal, a plain line every few seconds in a log."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Mapping

from tqdm import tqdm

LINE_SECONDS = 10.0


class Progress:
    """Counts items done, their rate, the time left and how many came out how.

    ``total`` is None where nobody knows it, as in a listing.
    """

    def __init__(self, total: int | None = None, done: int = 0, unit: str = "images") -> None:
        self.total, self.done, self._unit = total, done, unit
        self.counts: Counter[str] = Counter()
        self._start = self._line = time.monotonic()
        self._before = done
        self._bar = tqdm(total=total, initial=done, unit=unit) if sys.stderr.isatty() else None

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
        else:
            self._say()

    @property
    def rate(self) -> float:
        """Items per second since this job began."""
        return (self.done - self._before) / max(time.monotonic() - self._start, 1e-9)

    def add(self, count: int, outcomes: Mapping[str, int] | None = None) -> None:
        """``count`` more are done; ``outcomes`` says what became of them."""
        self.done += count
        self.counts.update(outcomes or {})
        if self._bar is not None:
            self._bar.set_postfix(self._outcomes(), refresh=False)
            self._bar.update(count)
        elif time.monotonic() - self._line >= LINE_SECONDS:
            self._say()

    def _outcomes(self) -> dict[str, int]:
        return {name: n for name, n in sorted(self.counts.items()) if n}

    def _say(self) -> None:
        self._line = time.monotonic()
        of, eta = "", ""
        if self.total is not None:
            of = f"/{self.total}"
            if self.rate > 0 and self.total > self.done:
                eta = f", {(self.total - self.done) / self.rate:.0f} s left"
        outcomes = "".join(f", {name} {n}" for name, n in self._outcomes().items())
        print(f"{self.done}{of} {self._unit}, {self.rate:.2f}/s{eta}{outcomes}", flush=True)
