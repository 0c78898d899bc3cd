"""The scan job with a real Ray: ledger, resume, retry, audit, refusals, MLflow."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import TEMPORARILY_UNAVAILABLE
from pydantic import ValidationError

from forensics.audit import Audit, audit
from forensics.lease import Lease, LeaseLost
from forensics.limits import Limits
from forensics.manifest import write_manifest
from forensics.records import Status, UserError
from forensics.run import Run, load_document, load_run
from jobs.entry import Unfinished
from jobs.scan import ScanJob, scan
from tests.images import write_images
from tests.jobs.runs import make_archive, map_rows, report_rows, scan_job, statuses

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_local")]

LIMITS = Limits(timeout_seconds=5)
IDS = ["a", "kill", "b", "raise", "c", "abstain", "hang", "d", "e", "f"]


@pytest.fixture(scope="module")
def finished(ray_local: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished scan of images with every kind of fault; do not change it."""
    folder = tmp_path_factory.mktemp("finished")
    manifest = make_archive(folder, IDS)
    job = scan_job(manifest, folder / "run", limits=LIMITS)
    assert scan(job) == 0
    return folder


def test_every_row_is_answered_and_faults_stay_alone(finished: Path) -> None:
    expected = dict.fromkeys(IDS, "ok") | {
        "kill": "failed",
        "raise": "failed",
        "abstain": "not_applicable",
        "hang": "timeout",
    }
    assert statuses(finished / "run") == expected
    rows = report_rows(finished / "run")
    assert [row["row"] for row in rows] == list(range(len(IDS)))
    assert [m["image_id"] for m in map_rows(finished / "run")][:4] == ["a", "a", "b", "b"]


def test_the_run_records_counts_settings_and_versions(finished: Path) -> None:
    document = load_document(str(finished / "run"))
    assert document["state"] == "complete"
    assert document["counts"]["rows"] == document["counts"]["found"] == len(IDS)
    assert document["counts"]["status"]["failed"] == 2
    assert document["settings"]["limits"]["timeout_seconds"] == 5
    assert document["versions"]["torch"].startswith("2.")
    assert not (finished / "run" / "lease.json").exists()


def test_mlflow_has_one_ended_run_with_counts_page_and_pictures(finished: Path) -> None:
    client = MlflowClient(f"sqlite:///{finished / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("forensics/scan")
    assert experiment is not None
    [run] = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params["limits.timeout_seconds"] == "5.0"
    assert run.data.metrics["audit.found"] == len(IDS)
    assert run.data.metrics["total.timeout"] == 1
    assert run.data.metrics["images.done"] == len(IDS)
    names = {item.path for item in client.list_artifacts(run.info.run_id)}
    assert names >= {"page.html", "run.json", "pictures", "contact-sheet.png", "suspects.json"}
    pictures = client.list_artifacts(run.info.run_id, "pictures")
    assert Path(pictures[0].path).name == "worst-01.png"


def test_the_page_lists_the_rows(finished: Path) -> None:
    page = (finished / "run" / "page.html").read_text(encoding="utf-8")
    assert "this image is sabotaged" in page
    assert "data-mime" in page


def test_a_finished_scan_run_again_does_nothing_and_succeeds(finished: Path) -> None:
    run = load_run(str(finished / "run"))
    before = {shard: Path(run.report_uri(shard)).stat().st_mtime_ns for shard in range(run.shards)}
    job = scan_job(str(finished / "archive.parquet"), finished / "run", limits=LIMITS)
    assert scan(job) == 0
    after = {shard: Path(run.report_uri(shard)).stat().st_mtime_ns for shard in range(run.shards)}
    assert before == after


def test_other_settings_in_the_same_folder_are_refused(finished: Path) -> None:
    manifest = str(finished / "archive.parquet")
    job = scan_job(manifest, finished / "run", limits=Limits(timeout_seconds=6))
    with pytest.raises(UserError, match=r"settings\.limits\.timeout_seconds: 5\.0 there, 6\.0 now"):
        scan(job)


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    manifest = make_archive(tmp_path, ["a"])
    with (
        Lease(str(tmp_path / "run")),
        pytest.raises(UserError, match="is being written by another job"),
    ):
        scan(scan_job(manifest, tmp_path / "run"))


def test_a_job_whose_run_was_taken_over_leaves_its_end_to_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = scan_job(make_archive(tmp_path, ["a", "b"]), tmp_path / "run")

    def audited(run: Run) -> Audit:
        monkeypatch.setattr(Lease, "check", lost)
        return audit(run)

    def lost(lease: Lease) -> None:
        raise LeaseLost("taken over")

    monkeypatch.setattr("jobs.scan.audit", audited)
    with pytest.raises(Unfinished, match="taken over"):
        scan(job)
    assert load_document(job.output)["state"] == "running"
    assert not (tmp_path / "run" / "page.html").exists()


def test_what_is_committed_is_not_done_again(tmp_path: Path) -> None:
    manifest = make_archive(tmp_path, [f"image{n}" for n in range(10)])
    job = scan_job(manifest, tmp_path / "run")
    assert scan(job) == 0
    run = load_run(job.output)
    whole = report_rows(job.output)
    Path(run.report_uri(1)).unlink()  # as if killed between its maps and its report
    kept = Path(run.report_uri(0)).stat().st_mtime_ns
    assert scan(job) == 0
    assert report_rows(job.output) == whole
    assert Path(run.report_uri(0)).stat().st_mtime_ns == kept


def test_a_scan_goes_on_where_mlflow_goes_away_and_logs_all_when_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("jobs.scan.METRIC_SECONDS", 0.0)
    monkeypatch.setattr("jobs.scan.METRIC_SHARE", 0.0)
    ids = [f"image{n}" for n in range(20)]
    job = scan_job(make_archive(tmp_path, ids), tmp_path / "run")
    log_batch, refused = MlflowClient.log_batch, 0

    def away_in_the_middle(client: MlflowClient, *args: Any, **kwargs: Any) -> None:
        nonlocal refused
        points = [metric.key for metric in kwargs.get("metrics", ())]
        if "images.done" in points and load_document(job.output)["state"] == "running":
            refused += 1
            raise MlflowException("database is locked", TEMPORARILY_UNAVAILABLE)
        log_batch(client, *args, **kwargs)

    monkeypatch.setattr(MlflowClient, "log_batch", away_in_the_middle)
    assert scan(job) == 0
    assert statuses(tmp_path / "run") == dict.fromkeys(ids, "ok")
    assert refused == 1  # and then it waits
    assert capsys.readouterr().err.count("database is locked. The job goes on") == 1
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    [experiment] = client.search_experiments(filter_string="name = 'forensics/scan'")
    [run] = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.metrics["total.ok"] == 20
    steps = {m.step for m in client.get_metric_history(run.info.run_id, "images.done")}
    assert steps == {4, 8, 12, 16, 20}


def test_retry_redoes_the_named_statuses_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = ["a", "gone", "b", "c", "d"]
    rows = write_images(tmp_path / "images", ids)
    manifest = tmp_path / "archive.parquet"
    write_manifest(rows, str(manifest))
    missing = Path(rows[1].uri)
    content = missing.read_bytes()
    missing.unlink()
    job = scan_job(str(manifest), tmp_path / "run")
    assert scan(job) == 0
    assert statuses(job.output)["gone"] == "unreadable"
    missing.write_bytes(content)
    assert scan(scan_job(str(manifest), job.output, retry="status=timeout,failed")) == 0
    assert statuses(job.output)["gone"] == "unreadable"
    assert scan(scan_job(str(manifest), job.output, retry="status=unreadable")) == 0
    assert Counter(statuses(job.output).values()) == {"ok": 5}
    undisturbed = scan_job(str(manifest), tmp_path / "undisturbed")
    assert scan(undisturbed) == 0
    assert report_rows(job.output) == report_rows(undisturbed.output)
    assert map_rows(job.output) == map_rows(undisturbed.output)


def test_retry_takes_statuses_only() -> None:
    assert ScanJob(manifest="m", output="o", retry="status=timeout,failed").retry == (
        Status.TIMEOUT,
        Status.FAILED,
    )
    with pytest.raises(ValidationError, match="not_applicable"):
        ScanJob(manifest="m", output="o", retry="status=broken")


def test_a_row_removed_by_hand_is_found_and_sets_the_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = make_archive(tmp_path, [f"image{n}" for n in range(6)])
    job = scan_job(manifest, tmp_path / "run")
    assert scan(job) == 0
    path = load_run(job.output).report_uri(0)
    table = pq.read_table(path)
    pq.write_table(table.filter([True, False, True, True]), path)
    capsys.readouterr()
    assert scan(job) == 1
    out = capsys.readouterr().out
    assert "rows in 6, rows out 5" in out
    assert "'image1'" in out
    assert load_document(job.output)["state"] == "incomplete"


def test_limit_takes_the_first_rows(tmp_path: Path) -> None:
    manifest = make_archive(tmp_path, ["a", "b", "c"])
    job = scan_job(manifest, tmp_path / "run", limit=2)
    assert scan(job) == 0
    assert list(statuses(job.output)) == ["a", "b"]


def test_the_number_of_workers_and_shards_does_not_change_answers(
    finished: Path, tmp_path: Path
) -> None:
    job = scan_job(
        str(finished / "archive.parquet"),
        tmp_path / "run",
        shard_rows=3,
        limits=LIMITS,
        pool={"workers": 1, "prefetch": 0},
    )
    assert scan(job) == 0
    assert report_rows(job.output) == report_rows(finished / "run")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"manifest": "/nowhere/m.parquet"}, "/nowhere/m.parquet"),
        ({"detectors": ("camra",)}, "there are: camera, prnu"),
        ({"pool": {"workers": 100}}, "would hang"),
        ({"detectors": ("camera",), "camera_models": "/nowhere"}, "no camera models in /nowhere"),
    ],
)
def test_bad_input_is_named_before_anything_is_done(
    tmp_path: Path, changes: dict, message: str
) -> None:
    manifest = make_archive(tmp_path, ["a"])
    job = scan_job(**{"manifest": manifest, "output": tmp_path / "run", **changes})
    with pytest.raises(UserError, match=message):
        scan(job)
    assert not list((tmp_path / "run").glob("report/*"))
