"""The command line every job has: ``--config file.yaml``, ``--any.setting value``, ``--help``."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from forensics.config import Settings, describe, load
from forensics.records import UserError
from forensics.redact import redact

S = TypeVar("S", bound=Settings)

OK, INCOMPLETE, REFUSED = 0, 1, 2
"""Exit codes: all rows answered; some are not; nothing was done because of bad input."""

CONTINUES = "what is committed stays, the same command continues"


class Unfinished(UserError):
    """Work that had begun cannot go on now: the job ends as INCOMPLETE."""


@contextmanager
def begun() -> Iterator[None]:
    """Around work that the same command continues: a `UserError` in it becomes `Unfinished`."""
    try:
        yield
    except UserError as error:
        raise Unfinished(str(error)) from None


def run_job(job: Callable[[S], int], model: type[S], about: str | None) -> None:
    """Run ``job`` with settings from ``sys.argv`` and leave with its exit code.

    ``about`` is the job's docstring. Bad input and storage errors (which are `UserError`s) end with
    their message alone; an error that is a bug keeps its traceback.
    """
    arguments = sys.argv[1:]
    if "--help" in arguments or "-h" in arguments:
        _show(f"{about or ''}\nSettings (in the file, or here as --name value):\n{describe(model)}")
        sys.exit(OK)
    try:
        sys.exit(job(settings_from(model, arguments)))
    except Unfinished as error:
        print(redact(f"error: {error}\n{CONTINUES}"), file=sys.stderr)
        sys.exit(INCOMPLETE)
    except UserError as error:
        print(redact(f"error: {error}"), file=sys.stderr)
        sys.exit(REFUSED)
    except KeyboardInterrupt:
        print(f"stopped; {CONTINUES}", file=sys.stderr)
        sys.exit(130)


def _show(text: str) -> None:
    """Print, into a pipe that somebody may have closed: ``--help | head`` ends quietly."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at exit


def settings_from(model: type[S], arguments: Sequence[str]) -> S:
    """Settings from a command line, ``--config`` first, wherever it stands."""
    rest = list(arguments)
    config = None
    for place, word in enumerate(rest):
        if word == "--config" or word.startswith("--config="):
            size = 1 if "=" in word else 2
            config = word.partition("=")[2] if size == 1 else "".join(rest[place + 1 : place + 2])
            del rest[place : place + size]
            break
    if config == "":
        raise UserError("option --config needs the path of a YAML file")
    return load(model, config, rest)
