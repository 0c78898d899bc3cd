"""A detector that does what an image's id tells it to: the faults a real image can provoke."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from forensics.detectors import Resources, Subject
from forensics.records import Finding, Map, NotApplicable

NAME = "tests.saboteur:Saboteur"


class Saboteur:
    """Ids may hold: kill, kill-once, hang, raise, abstain, grow, or slow; others are answered."""

    name: ClassVar[str] = "saboteur"
    columns: ClassVar[Mapping[str, pa.DataType]] = {"mean": pa.float64(), "decision": pa.bool_()}

    def __init__(self, settings: None, resources: Resources) -> None:
        self._ballast: list[np.ndarray] = []
        deaths = int(os.environ.get("SABOTEUR_DIES_LOADING", "0"))
        marks = Path(os.environ["SABOTEUR_FOLDER"]) if deaths else Path()
        if deaths and len(list(marks.glob("*.died"))) < deaths:
            (marks / f"{os.getpid()}.died").touch()
            os.kill(os.getpid(), signal.SIGKILL)

    def examine(self, subject: Subject) -> Finding:
        image_id = subject.row.image_id
        if "kill-once" in image_id:
            mark = Path(os.environ["SABOTEUR_FOLDER"], Path(image_id).name + ".killed")
            if not mark.exists():
                mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)
        elif "kill" in image_id:
            os.kill(os.getpid(), signal.SIGKILL)
        if "hang" in image_id:
            time.sleep(3600)
        if "slow" in image_id:
            time.sleep(0.1)
        if "raise" in image_id:
            raise RuntimeError("this image is sabotaged")
        if "abstain" in image_id:
            raise NotApplicable("asked to abstain")
        if "grow" in image_id:
            while True:
                self._ballast.append(np.ones(2**24))  # 128 MiB, touched
                time.sleep(0.05)
        mean = float(subject.image.pixels.mean())
        value = np.full((2, 2), mean / 255, np.float32)
        return Finding(
            score=mean / 255,
            values={"mean": mean, "decision": mean > 128},
            maps=(Map("probability", 8, value), Map("decision", 8, value > 0.5)),
        )

    def identity(self) -> Mapping[str, Any]:
        return {}

    def bytes_needed(self, height: int, width: int) -> int:
        return 100 * height * width
