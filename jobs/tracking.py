"""MLflow: one run per job, written by the driver alone and always ended.

A job needs MLflow to open its run and to register models. What it logs in between does not end it:
that is said once, kept and tried again (`jobs.outbox`).
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read when mlflow is imported
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from PIL import Image as PillowImage
from pydantic import Field, field_serializer

from forensics.config import Settings, flat
from forensics.records import UserError
from forensics.redact import redact
from jobs.outbox import Outbox

if TYPE_CHECKING:
    from matplotlib.figure import Figure  # half a second, of which most jobs have no use

logging.getLogger("mlflow").setLevel(logging.WARNING)  # not every table it creates
logging.getLogger("alembic").setLevel(logging.WARNING)
logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # it raises them, too

_VALUE_CHARACTERS = 6000  # MLflow's limit for a parameter
_TABLES = "mlflow.loggedArtifacts"  # tag by which MLflow knows which artifacts are tables
_NAMED = 5  # of what a run lacks
_ERRORS = (mlflow.exceptions.MlflowException, OSError)


class TrackingSettings(Settings):
    """Where the job's metrics and pictures go."""

    uri: str | None = Field(
        None, description="MLflow store [MLFLOW_TRACKING_URI, else SQLite next to the output]"
    )
    experiment: str | None = Field(None, description="MLflow experiment [forensics/<job>]")

    @field_serializer("uri", when_used="json")
    def _shown(self, uri: str | None) -> str | None:
        """A store's password is no part of what a run keeps of its settings."""
        return None if uri is None else redact(uri)


class Tracker:
    """One MLflow run, addressed by its id: no global state, so threads and tests may have many.

    Nothing here raises because MLflow does not take something.
    """

    def __init__(self, client: MlflowClient, run_id: str, name: str, store: str) -> None:
        self.client = client
        self.run_id = run_id
        self.name = name
        self.store = store
        # MLflow may take numbers where the store of its artifacts takes no files
        self._numbers, self._files = Outbox(_away, self._failed), Outbox(_away, self._failed)
        self._warned = False

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Log numbers at a step."""
        now = _milliseconds()
        batch = [Metric(name, float(value), now, step) for name, value in values.items()]
        name = f"{', '.join(values)} (step {step})"
        self._numbers.put(name, lambda: self.client.log_batch(self.run_id, metrics=batch))

    def tags(self, values: Mapping[str, str]) -> None:
        """Set tags of the run."""
        tags = [RunTag(as_name(k), v) for k, v in values.items()]
        self._numbers.put(
            f"tag {', '.join(values)}", lambda: self.client.log_batch(self.run_id, tags=tags)
        )

    def text(self, content: str, path: str) -> None:
        """Store text (a page, a config) as an artifact."""
        self._files.put(path, lambda: self.client.log_text(self.run_id, content, path))

    def figure(self, figure: Figure, path: str) -> None:
        """Store a plot as an artifact."""
        self._files.put(path, lambda: self.client.log_figure(self.run_id, figure, path))

    def picture(self, picture: PillowImage.Image, path: str) -> None:
        """Store a picture as an artifact."""
        self._files.put(path, lambda: self.client.log_image(self.run_id, picture, path))

    def table(self, columns: Mapping[str, list[Any]], path: str) -> None:
        """Store a table (``path`` ends in ``.json``) that MLflow can show.

        In the form of `MlflowClient.log_table`, which would add the rows to those that a run which
        is opened again has there.
        """
        rows = [[_cell(value) for value in row] for row in zip(*columns.values(), strict=True)]
        text = json.dumps({"columns": list(columns), "data": rows}, default=str)

        def send() -> None:
            self.client.log_text(self.run_id, text, path)
            known = json.loads(self.client.get_run(self.run_id).data.tags.get(_TABLES, "[]"))
            mark = {"path": path, "type": "table"}
            if mark not in known:
                self.client.set_tag(self.run_id, _TABLES, json.dumps([*known, mark]))

        self._files.put(path, send)

    def steps(self, metric: str) -> set[int]:
        """Where a run that is opened again has this metric already; none if MLflow does not say."""
        try:
            history = self.client.get_metric_history(self.run_id, metric)
        except _ERRORS as error:
            self._failed(error)
            return set()
        return {point.step for point in history}

    def end(self, status: str) -> None:
        """Try once more what is not logged yet, and end the run; say what it lacks."""
        if status != "KILLED":  # nobody waits for a job that was told to stop
            self._numbers.flush()
            self._files.flush()
        ended = False
        if not self._numbers.waiting:  # else it would be waited for twice
            try:
                self.client.set_terminated(self.run_id, status)
                ended = True
            except _ERRORS as error:
                self._failed(error)
        lacking = [*self._numbers.lacking, *self._files.lacking, *([] if ended else ["its end"])]
        if lacking:
            more = f" and {len(lacking) - _NAMED} more" if len(lacking) > _NAMED else ""
            names = "; ".join(shorten(name, 60, placeholder=" …") for name in lacking[:_NAMED])
            _warn(f"MLflow's run {self.name} lacks: {names}{more}")

    def _failed(self, error: Exception) -> None:
        """Say that something is not logged, the first time."""
        if not self._warned:
            self._warned = True
            _warn(
                f"MLflow at {self.store} does not take what is logged: {_reason(error)}. The job "
                "goes on without it and tries again later, the last time at its end."
            )


def _away(error: Exception) -> bool:
    """Whether another try may help: no answer, an overloaded server, a locked or full database."""
    if isinstance(error, mlflow.exceptions.MlflowException):
        status = int(error.get_http_status_code())
        return status >= 500 or status == 429
    return isinstance(error, OSError)


def _reason(error: Exception) -> str:
    """The first line: SQLAlchemy adds the statement and its values."""
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(". ")


def _warn(text: str) -> None:
    print(redact(f"warning: {text}"), file=sys.stderr, flush=True)


def _cell(value: Any) -> Any:
    """As JSON knows it."""
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def as_name(text: str) -> str:
    """What MLflow takes for the name of a parameter or a metric: other characters become ``_``."""
    return re.sub(r"[^\w\-. /]", "_", text)


@contextmanager
def tracked(
    job: str, settings: Settings, tracking: TrackingSettings, output: str, key: str | None = None
) -> Iterator[Tracker]:
    """An MLflow run for the length of a job: FINISHED, or FAILED if the job raises.

    ``key`` names work that is continued after a kill: the run that has it is opened again instead
    of leaving it RUNNING for ever beside a second one.
    """
    store = store_uri(tracking, output)
    with answering(store):
        client = MlflowClient(tracking_uri=store)
        experiment = _experiment(client, tracking.experiment or f"forensics/{job}", store)
        run = client.get_run(_open(client, experiment, job, key))
        values = {as_name(k): redact(str(v))[:_VALUE_CHARACTERS] for k, v in flat(settings).items()}
        params = [Param(k, v) for k, v in values.items() if k not in run.data.params]
        client.log_batch(run.info.run_id, params=params)
    tracker = Tracker(client, run.info.run_id, run.info.run_name, store)
    try:
        yield tracker
    except (KeyboardInterrupt, SystemExit):
        tracker.end("KILLED")
        raise
    except BaseException:
        tracker.end("FAILED")
        raise
    tracker.end("FINISHED")


@contextmanager
def answering(store: str, what: str = "") -> Iterator[None]:
    """For what a job cannot do without MLflow: `UserError` where it does not answer.

    ``what`` says what cannot be done.
    """
    try:
        yield
    except _ERRORS as error:
        raise UserError(
            redact(f"{what}MLflow at {store} does not answer: {_reason(error)}. Check tracking.uri")
            + " or MLFLOW_TRACKING_URI."
        ) from None


def check_store(store: str) -> None:
    """Raise `UserError` where MLflow does not answer."""
    with answering(store):
        MlflowClient(tracking_uri=store).search_experiments(max_results=1)


def store_uri(tracking: TrackingSettings, output: str) -> str:
    """The MLflow store: the setting, the environment, or SQLite beside a local output folder."""
    if found := tracking.uri or os.environ.get("MLFLOW_TRACKING_URI"):
        return found
    return f"sqlite:///{_beside(output) / 'mlflow.db'}"


def _beside(output: str) -> Path:
    local = "://" not in output or output.startswith("file://")
    folder = Path(output.removeprefix("file://")).resolve().parent if local else Path.cwd()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _experiment(client: MlflowClient, name: str, store: str) -> str:
    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    location = None
    if store.startswith("sqlite:///"):  # MLflow's default would depend on the working folder
        location = (Path(store.removeprefix("sqlite:///")).parent / "mlartifacts").as_uri()
    return str(client.create_experiment(name, artifact_location=location))


def _open(client: MlflowClient, experiment: str, job: str, key: str | None) -> str:
    if key is not None:
        for run in client.search_runs(
            [experiment], f"tags.`forensics.key` = '{key}'", max_results=1
        ):
            client.update_run(run.info.run_id, status="RUNNING")
            return str(run.info.run_id)
    tags = {"forensics.job": job, **({"forensics.key": key} if key else {})}
    name = f"{job}-{key[:8]}" if key else job
    return str(client.create_run(experiment, run_name=name, tags=tags).info.run_id)


def _milliseconds() -> int:
    return int(time.time() * 1000)
