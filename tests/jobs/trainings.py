"""Trainings in tests: killed ones, what MLflow knows of them, and what registered models say."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from mlflow import MlflowClient
from mlflow.entities import Run
from numpy.typing import NDArray

from jobs.entry import OK
from tests.conftest import ROOT
from tests.jobs.runs import cut_power, start
from tests.patience import until

_SAY = """
import sys, mlflow, numpy as np
store, given, said, *names = sys.argv[1:]
mlflow.set_tracking_uri(store)
answers = [mlflow.pyfunc.load_model(f"models:/{n}/1").predict(np.load(given)) for n in names]
parts = [answer if isinstance(answer, dict) else {"": answer} for answer in answers]
np.savez(said, **{f"{n}/{k}": v for n, part in zip(names, parts) for k, v in part.items()})
"""


def words(values: Mapping[str, Any]) -> list[str]:
    """Settings as a command line gives them."""
    return [word for name, value in values.items() for word in (f"--{name}", str(value))]


def printed(job: Callable[[], int], code: int = OK) -> str:
    """What a job prints that ends with that exit code."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        found = job()
    assert found == code, out.getvalue()
    return out.getvalue()


def kill_after_an_epoch(module: str, arguments: list[str], work: Path, training: str) -> int:
    """Start a job and cut its power once an epoch of that training is kept; returns which.

    ``work`` is the folder ``.training`` of the job's output.
    """
    process = start(module, *arguments)
    kept_epoch = f"{training}/**/checkpoint_manager_snapshot.json"
    [snapshot] = until(lambda: list(work.rglob(kept_epoch)), process)
    cut_power(process)  # a worker left alone would finish epochs that nobody counts
    [kept] = json.loads(snapshot.read_text())["checkpoint_results"]
    return int(kept["metrics"]["number"])


def logged(store: str, folder: Path) -> list[Run]:
    """The runs of the experiment that is called as the folder."""
    client = MlflowClient(store)
    experiment = client.get_experiment_by_name(folder.name)
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id]))


def artifacts_of(run: Run) -> set[str]:
    """Paths of the run's files."""
    folder = Path(run.info.artifact_uri.removeprefix("file://"))
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


def steps(store: str, run: Run, metric: str) -> list[int]:
    """The steps at which a metric was logged."""
    course = MlflowClient(store).get_metric_history(run.info.run_id, metric)
    return [point.step for point in course]


def said(
    store: str, folder: Path, given: NDArray[Any], *names: str
) -> Mapping[str, NDArray[np.float32]]:
    """What the first versions of registered models say, as ``name/output`` (``name/`` where there
    is but one), in a process of its own that refuses pickles."""
    np.save(folder / "given.npy", given)
    files = [str(folder / "given.npy"), str(folder / "said.npz")]
    env = {"MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", _SAY, store, *files, *names]
    subprocess.run(command, check=True, cwd=folder, env=env)
    found: Mapping[str, NDArray[np.float32]] = np.load(files[1])
    return found
