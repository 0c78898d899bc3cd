"""One MLflow run per job, always ended, opened again when its work goes on."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from matplotlib.figure import Figure
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import TEMPORARILY_UNAVAILABLE
from PIL import Image

from forensics.config import Settings
from forensics.records import UserError
from forensics.redact import redact
from jobs.scan import ScanJob
from jobs.tracking import Tracker, TrackingSettings, as_name, store_uri, tracked
from jobs.training.models import register

SECRET = "wJalrXUtnFEMI-K7MDENG"


class Inner(Settings):
    window: int = 128


class Job(Settings):
    manifest: str = "m.parquet"
    inner: Inner = Inner()


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty store; making its tables takes a second."""
    path = tmp_path_factory.mktemp("template") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def folder(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an empty store, where the outputs go."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.copy(template, tmp_path / "mlflow.db")
    return tmp_path


def begin(folder: Path, job: Job | None = None, key: str | None = None) -> Tracker:
    """The tracker of a job that ran to its end."""
    with tracked("scan", job or Job(), TrackingSettings(), str(folder / "run"), key) as tracker:
        return tracker


def runs(folder: Path, experiment: str = "forensics/scan") -> list[Run]:
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    found = client.get_experiment_by_name(experiment)
    assert found is not None
    return list(client.search_runs([found.experiment_id]))


def test_the_store_is_beside_a_local_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    nothing = TrackingSettings()
    beside = f"sqlite:///{tmp_path}/case/mlflow.db"
    assert store_uri(nothing, "case/scan") == beside
    assert store_uri(nothing, str(tmp_path / "case" / "scan")) == beside
    assert store_uri(nothing, f"file://{tmp_path}/case/scan/") == beside
    assert (tmp_path / "case").is_dir()
    assert store_uri(nothing, "s3://bucket/scan") == f"sqlite:///{tmp_path}/mlflow.db"


def test_the_setting_wins_over_the_environment_over_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://server:5000")
    output = str(tmp_path / "run")
    assert store_uri(TrackingSettings(), output) == "http://server:5000"
    assert store_uri(TrackingSettings(uri="sqlite:////x.db"), output) == "sqlite:////x.db"


def test_a_run_holds_settings_numbers_and_files(folder: Path) -> None:
    with tracked("scan", Job(), TrackingSettings(), str(folder / "run")) as tracker:
        [run] = runs(folder)
        assert run.info.status == "RUNNING"
        tracker.metrics({"done": 1, "rate": 0.5}, step=1)
        tracker.metrics({"done": 2}, step=2)
        tracker.tags({"forensics.output": "out"})
        tracker.text("page", "page.html")
        tracker.figure(Figure(), "figures/curve.png")
        tracker.picture(Image.new("RGB", (4, 4)), "pictures/one.png")
    [run] = runs(folder)
    assert run.info.run_id == tracker.run_id
    assert run.info.status == "FINISHED"
    assert run.info.end_time is not None
    assert run.data.params == {"manifest": "m.parquet", "inner.window": "128"}
    assert run.data.metrics == {"done": 2, "rate": 0.5}
    assert run.data.tags["forensics.job"] == "scan"
    assert run.data.tags["forensics.output"] == "out"
    stored = folder / "mlartifacts"
    names = {path.name for path in stored.rglob("*") if path.is_file()}
    assert names == {"page.html", "curve.png", "one.png"}
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    assert [m.step for m in client.get_metric_history(tracker.run_id, "done")] == [1, 2]


def test_a_table_is_replaced_and_is_what_mlflow_reads(folder: Path) -> None:
    for count in (3, 2):
        with tracked("scan", Job(), TrackingSettings(), str(folder / "run"), key="k") as tracker:
            columns = {"a": [1, None, np.int64(3)][:count], "b": [0.5, float("nan"), "x"][:count]}
            tracker.table(columns, "t.json")
            tracker.table({"c": []}, "empty.json")
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    path = Path(client.download_artifacts(tracker.run_id, "t.json", str(folder)))
    assert json.loads(path.read_text()) == {"columns": ["a", "b"], "data": [[1, 0.5], [None, None]]}
    assert json.loads(client.get_run(tracker.run_id).data.tags["mlflow.loggedArtifacts"]) == [
        {"path": name, "type": "table"} for name in ("t.json", "empty.json")
    ]


@pytest.mark.parametrize(
    ("error", "status"),
    [(UserError("no"), "FAILED"), (SystemExit(143), "KILLED"), (KeyboardInterrupt(), "KILLED")],
)
def test_a_run_that_stops_is_ended(folder: Path, error: BaseException, status: str) -> None:
    with (
        pytest.raises(type(error)),
        tracked("scan", Job(), TrackingSettings(), str(folder / "run")),
    ):
        raise error
    [run] = runs(folder)
    assert run.info.status == status
    assert run.info.end_time is not None


class Absent:
    """MLflow goes away in the middle of a job: nothing is taken until it is back."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.away = False
        for name in ("log_batch", "log_text", "log_figure", "set_terminated", "get_metric_history"):
            monkeypatch.setattr(MlflowClient, name, self._unless_away(getattr(MlflowClient, name)))

    def _unless_away(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def called(*args: Any, **kwargs: Any) -> Any:
            if self.away:
                raise MlflowException("database is locked\n[SQL: …]", TEMPORARILY_UNAVAILABLE)
            return call(*args, **kwargs)

        return called


def test_what_mlflow_did_not_take_is_logged_when_the_job_ends(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    absent = Absent(monkeypatch)
    with tracked("scan", Job(), TrackingSettings(), str(folder / "run")) as tracker:
        absent.away = True
        tracker.metrics({"done": 1}, step=1)
        tracker.metrics({"done": 2}, step=2)
        tracker.tags({"forensics.output": "out"})
        tracker.text("page", "page.html")
        assert tracker.steps("done") == set()
        absent.away = False
    [run] = runs(folder)
    assert run.info.status == "FINISHED"
    assert run.data.tags["forensics.output"] == "out"
    assert tracker.steps("done") == {1, 2}
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"warning: MLflow at sqlite:///{folder}/mlflow.db does not take")
    assert "database is locked. The job goes on" in line


@pytest.mark.parametrize("error", [None, UserError("the real one"), KeyboardInterrupt()])
def test_a_job_ends_as_it_would_where_mlflow_stays_away(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException | None,
) -> None:
    absent = Absent(monkeypatch)
    with (
        contextlib.nullcontext() if error is None else pytest.raises(type(error)) as raised,
        tracked("scan", Job(), TrackingSettings(), str(folder / "run")) as tracker,
    ):
        absent.away = True
        for step in range(9):
            tracker.metrics({"done": step}, step=step)
        if error is not None:
            raise error
    assert raised is None or raised.value is error
    first, last = capsys.readouterr().err.splitlines()
    assert "does not take" in first
    assert last.startswith("warning: MLflow's run ")
    assert "lacks: done (step 0); done (step 1)" in last
    assert last.endswith("and 5 more")


def test_an_end_that_is_not_taken_is_said(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    absent = Absent(monkeypatch)
    job = tracked("scan", Job(), TrackingSettings(), str(folder / "run"))
    job.__enter__()
    absent.away = True
    error = UserError("the real one")
    assert not job.__exit__(UserError, error, None)
    assert "lacks: its end" in capsys.readouterr().err


def test_what_mlflow_refuses_costs_nothing_else(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with tracked("scan", Job(), TrackingSettings(), str(folder / "run")) as tracker:
        tracker.metrics({"no,name": 1})
        tracker.metrics({"done": 2})
    [run] = runs(folder)
    assert run.info.status == "FINISHED"
    assert run.data.metrics == {"done": 2}
    assert "lacks: no,name (step 0)" in capsys.readouterr().err


def test_a_model_that_cannot_be_registered_is_said(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tracked("train", Job(), TrackingSettings(), str(folder / "run")) as tracker:

        def locked(*_: Any) -> None:
            raise MlflowException("database is locked", TEMPORARILY_UNAVAILABLE)

        monkeypatch.setattr(tracker.client, "create_logged_model", locked)
        with pytest.raises(UserError, match=r"cannot register net: MLflow at .* is locked\. Check"):
            register(tracker, "net", {}, lambda folder: None)


def test_no_run_is_active_beside(folder: Path) -> None:
    before = mlflow.get_tracking_uri()
    with tracked("scan", Job(), TrackingSettings(), str(folder / "run")):
        assert mlflow.active_run() is None
        assert mlflow.get_tracking_uri() == before
    assert mlflow.active_run() is None


def test_work_that_goes_on_after_a_kill_has_one_run(folder: Path) -> None:
    killed = tracked("scan", Job(), TrackingSettings(), str(folder / "run"), key="abc123")
    first = killed.__enter__()  # and never ended, as by SIGKILL
    first.metrics({"done": 1}, step=1)
    assert [run.info.status for run in runs(folder)] == ["RUNNING"]

    changed = Job(manifest="moved.parquet")  # MLflow would refuse to change a parameter
    assert begin(folder, changed, key="abc123").run_id == first.run_id
    [run] = runs(folder)
    assert run.info.status == "FINISHED"
    assert run.info.end_time is not None
    assert run.data.params == {"manifest": "m.parquet", "inner.window": "128"}
    assert run.data.metrics == {"done": 1}
    assert run.data.tags["forensics.key"] == "abc123"
    assert run.info.run_name == "scan-abc123"


def test_a_run_that_is_opened_again_is_running(folder: Path) -> None:
    begin(folder, key="abc123")
    with tracked("scan", Job(), TrackingSettings(), str(folder / "run"), key="abc123"):
        assert [run.info.status for run in runs(folder)] == ["RUNNING"]
    assert [run.info.status for run in runs(folder)] == ["FINISHED"]


def test_other_work_has_other_runs(folder: Path) -> None:
    ids = [begin(folder, key=key).run_id for key in ("one", "two", None, None, "one")]
    assert len(set(ids)) == 4
    assert ids[0] == ids[4]


def test_the_experiment_can_be_named(folder: Path) -> None:
    tracking = TrackingSettings(experiment="court case 7")
    with tracked("scan", Job(), tracking, str(folder / "run")):
        pass
    assert len(runs(folder, "court case 7")) == 1


def test_long_and_secret_values_are_cut_and_masked(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    begin(folder, Job(manifest=f"https://me:{SECRET}@store/" + "m" * 10_000))
    [run] = runs(folder)
    value = run.data.params["manifest"]
    assert value.startswith("https://***@store/mmm")
    assert len(value) == 6000


def test_a_store_is_kept_without_its_password() -> None:
    uri = f"postgresql://me:{SECRET}@server/mlflow"
    job = ScanJob(manifest="m.parquet", output="run", tracking=TrackingSettings(uri=uri))
    assert job.tracking.uri == uri
    kept = job.model_dump(mode="json")  # as run.json has it
    assert kept["tracking"]["uri"] == "postgresql://***@server/mlflow"


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        (f"nonsense://me:{SECRET}@server/db", "nonsense://***@server/db"),
        ("sqlite:///FOLDER/file/mlflow.db", "sqlite:///FOLDER/file/mlflow.db"),
        (f"http://me:{SECRET}@127.0.0.1:9", "http://***@127.0.0.1:9"),
    ],
)
def test_a_store_that_does_not_answer_is_named_without_secrets(
    folder: Path, monkeypatch: pytest.MonkeyPatch, uri: str, shown: str
) -> None:
    (folder / "file").touch()
    uri, shown = uri.replace("FOLDER", str(folder)), shown.replace("FOLDER", str(folder))
    for name in ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT"):
        monkeypatch.setenv(name, "1")
    tracking = TrackingSettings(uri=uri)
    with (
        pytest.raises(UserError, match="does not answer") as raised,
        tracked("scan", Job(), tracking, str(folder / "run")),
    ):
        pass
    printed = redact(f"error: {raised.value}")
    assert f"MLflow at {shown} does not answer" in printed
    assert "MLFLOW_TRACKING_URI" in printed
    assert SECRET not in printed


@pytest.mark.parametrize("text", ["checkpoint.SegFormer (NP++)", "a,b=c", "grün\n"])
def test_any_text_makes_a_name_that_mlflow_takes(text: str, store: str) -> None:
    client = MlflowClient(store)
    run = client.create_run("0").info.run_id
    client.log_param(run, as_name(text), "1")
    client.set_tag(run, as_name(text), "1")
    client.log_metric(run, as_name(text), 1.0)
    found = client.get_run(run).data
    assert found.params[as_name(text)] == found.tags[as_name(text)] == "1"
    assert as_name("f1.M-SLIC 7/x_") == "f1.M-SLIC 7/x_"
