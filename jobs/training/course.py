"""The course of a training, for people and for MLflow."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping

from jobs.progress import LINE_SECONDS
from jobs.tracking import Tracker
from jobs.training.reported import Epoch


class Course:
    """The epochs of a training as they come: a line now and then, every one in MLflow once.

    Args:
        tracker: where the numbers go, as ``name.measure``.
        name: of the training.
        epochs: how many there will be.
        describe: an epoch's numbers for people.
    """

    def __init__(
        self, tracker: Tracker, name: str, epochs: int, describe: Callable[[Epoch], str]
    ) -> None:
        self.name, self.epochs = name, epochs
        self._tracker = tracker
        self._describe = describe
        self._said = -math.inf
        self._logged = tracker.steps(f"{name}.lr")  # by a job that was killed

    @property
    def title(self) -> str:
        """The training's name, led by that of its job's run in MLflow."""
        return f"{self._tracker.name}/{self.name}"

    def add(self, epoch: Epoch) -> None:
        """An epoch that just ended."""
        self.log(epoch)
        now = time.monotonic()
        if now - self._said >= LINE_SECONDS or epoch["number"] == self.epochs:
            self._said = now
            numbers = f"{self.name}: epoch {epoch['number']}/{self.epochs}"
            print(f"{numbers}, {self._describe(epoch)}, lr {epoch['lr']:.1e}", flush=True)

    def log(self, epoch: Epoch) -> None:
        """An epoch, unless it is known already."""
        if epoch["number"] not in self._logged:
            self._logged.add(epoch["number"])
            values = {f"{self.name}.{key}": epoch[key] for key in epoch if key != "number"}
            self._tracker.metrics(finite(values), step=epoch["number"])


def finite(values: Mapping[str, float]) -> dict[str, float]:
    """Those of the values that MLflow can show."""
    return {name: value for name, value in values.items() if math.isfinite(value)}
