"""What a job has to say to a service that may be away: sent at once, or kept and sent later."""

from __future__ import annotations

import time
from collections.abc import Callable

PAUSE_SECONDS = 60.0
"""Between two tries while the service is away; as long as the last try took, where that is longer,
so that a job waits for it during half of its time at most."""


class Outbox:
    """Sends in order, and never raises: a job does not end because of what is said of it.

    Args:
        away: whether an error may pass, so that the same is worth another try. What is refused for
            good is given up.
        failed: told of every error.
    """

    def __init__(
        self, away: Callable[[Exception], bool], failed: Callable[[Exception], None]
    ) -> None:
        self._away, self._failed = away, failed
        self._waiting: dict[str, Callable[[], object]] = {}
        self._refused: list[str] = []
        self._again = 0.0  # by the monotonic clock

    @property
    def waiting(self) -> bool:
        """Whether the service was away at the last try."""
        return bool(self._waiting)

    @property
    def lacking(self) -> list[str]:
        """Names of what was not sent."""
        return [*self._refused, *self._waiting]

    def put(self, name: str, send: Callable[[], object]) -> None:
        """Send this, after what waits; something of the same name that still waits is replaced."""
        self._waiting.pop(name, None)
        self._waiting[name] = send
        if time.monotonic() >= self._again:
            self.flush()

    def flush(self) -> None:
        """Try all that waits, until the service is found to be away."""
        while self._waiting:
            name, send = next(iter(self._waiting.items()))
            start = time.monotonic()
            try:
                send()
            except Exception as error:  # stores of artifacts raise what their libraries have
                self._failed(error)
                if self._away(error):
                    now = time.monotonic()
                    self._again = now + max(PAUSE_SECONDS, now - start)
                    return
                self._refused.append(name)
            del self._waiting[name]
