"""A training from the driver's side: run, followed epoch by epoch, and what it gave or why not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from forensics import storage
from forensics.records import UserError
from jobs.meters import TrainingMeter
from jobs.training.course import Course
from jobs.training.journal import Journal
from jobs.training.reported import Epoch
from jobs.training.run import Workers, run_training

CONTINUES = "The same command continues after the last epoch that ended."


def follow(
    loop: Callable[[dict[str, Any]], Any],
    config: dict[str, Any],
    course: Course,
    *,
    folder: str,
    workers: Workers,
    retries: int,
) -> dict[str, Any]:
    """What ``loop(config)`` returns on the first worker, with every epoch in the course.

    Checkpoints go to ``folder``, a URI, under the course's name. Raises `RuntimeError` where a
    worker failed time and again.
    """
    with TrainingMeter(course.title, course.epochs) as meter:

        def on_epoch(epoch: Epoch) -> None:
            course.add(epoch)
            meter.epoch(epoch)

        outcome: dict[str, Any] = run_training(
            loop,
            config,
            folder=folder,
            name=course.name,
            workers=workers,
            retries=retries,
            on_epoch=on_epoch,
        )
    for epoch in outcome.get("history", ()):  # those of before a kill, too
        course.log(epoch)
    return outcome


def trained(
    loop: Callable[[dict[str, Any]], Any],
    config: dict[str, Any],
    course: Course,
    *,
    journal: Journal,
    workers: Workers,
    retries: int,
) -> dict[str, Any] | None:
    """What became of a network's training; None, and a line that says why, if it did not end.

    ``loop`` stores the network at the URI ``weights``, which is added to its config and, here, to
    what it returned. Raises `UserError` where it returned an ``error``.
    """
    weights = storage.join(journal.folder, f"{course.name}.safetensors")
    try:
        outcome = follow(
            loop,
            {**config, "weights": weights},
            course,
            folder=journal.folder,
            workers=workers,
            retries=retries,
        )
    except RuntimeError as error:  # a worker failed time and again; its checkpoints stay
        print(f"{course.name}: {error}. {CONTINUES}")
        return None
    if "error" in outcome:
        raise UserError(f"{course.name}: {outcome['error']}")
    return {**outcome, "weights": weights}
