"""How long a test waits for what has to come: it ends a hang, and is no measure of speed."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE_SECONDS = 900.0
"""Tests that take a minute have taken ten on a machine that did other things beside them."""


def until(found: Callable[[], T], job: subprocess.Popen[str] | None = None) -> T:
    """What ``found`` gives, as soon as it is true. A ``job`` that ends before it does fails."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not (answer := found()):
        assert job is None or job.poll() is None, job.communicate()[0]
        assert time.monotonic() < end
        time.sleep(0.02)
    return answer
