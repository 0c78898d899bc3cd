"""Repeats what fails for a passing reason, with growing, jittered pauses, for a bounded time."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from forensics.storage.errors import Unavailable

T = TypeVar("T")


class Transient(Exception):
    """A failure that may pass: no connection, a 5xx answer, a truncated body."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Exponential backoff with jitter.

    The pause before attempt n is uniform in 50..100 % of ``first_pause * 2**n``, at most
    ``longest_pause`` (seconds); no attempt starts later than ``seconds`` after the first one.
    """

    seconds: float = 60.0
    first_pause: float = 0.2
    longest_pause: float = 3.0

    def call(self, attempt: Callable[[], T], what: str) -> T:
        """The value of ``attempt()``, called again while it raises ``Transient``.

        ``what`` names the action and the object in the message of the ``Unavailable`` raised when
        time is up.
        """
        started = time.monotonic()
        tries = 0
        while True:
            try:
                return attempt()
            except Transient as error:
                reason = str(error)
            tries += 1
            left = started + self.seconds - time.monotonic()
            if left <= 0:
                # raised outside the handler: the library's exception must not hang on as context
                raise Unavailable(
                    f"{what}: the store did not answer properly in {tries} attempts over "
                    f"{time.monotonic() - started:.0f} s ({reason}). Check that it is running and "
                    "that its address (AWS_ENDPOINT_URL) is right, then start again."
                )
            pause = min(self.longest_pause, self.first_pause * 2.0 ** min(tries - 1, 30))
            time.sleep(min(left, pause * random.uniform(0.5, 1.0)))  # jitter, not cryptography
