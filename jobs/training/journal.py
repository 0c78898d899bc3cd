"""What a job of trainings has done so far, so that the same command continues it after a kill."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from forensics import storage
from jobs.entry import begun
from jobs.training.storage import clear

_FOLDER = ".training"  # no camera can be called so


@dataclass(frozen=True)
class Journal:
    """A folder beside the camera models, for as long as the job is not through.

    It holds the checkpoints of the trainings and, for those that ended, what became of them.
    """

    folder: str  # URI
    key: str  # of this run of the job, the same before and after a kill

    @classmethod
    def open(cls, models: str, digest: str) -> Journal:
        """That of the work with this digest: begun now, or left by a job that was killed."""
        folder = storage.join(models, _FOLDER, digest[:16])
        uri = storage.join(folder, "run.json")
        storage.write_if_absent(uri, json.dumps({"key": uuid.uuid4().hex}).encode())
        return cls(folder, json.loads(storage.read(uri))["key"])

    def result(self, name: str) -> dict[str, Any] | None:
        """What became of a training, if it ended."""
        uri = storage.join(self.folder, "results", f"{name}.json")
        try:
            found: dict[str, Any] = json.loads(storage.read(uri))
        except storage.NotFound:
            return None
        return found

    def end(self, name: str, result: Mapping[str, Any]) -> None:
        """Note what became of a training; its checkpoints go."""
        uri = storage.join(self.folder, "results", f"{name}.json")
        with begun():
            storage.write(uri, json.dumps(result).encode())
            clear(storage.join(self.folder, "runs", name))

    def close(self) -> None:
        """The job is through: the same command would start anew."""
        clear(self.folder)
