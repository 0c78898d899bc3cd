"""What is made of a finished scan: bundles as users make and check them, the examination repeated
from one, decisions, and what a reviewer sees in a browser."""

from __future__ import annotations

import json
import os
import re
import zipfile
from collections import Counter
from pathlib import Path

import pytest
from mlflow import MlflowClient

from forensics.__main__ import main
from forensics.config import load
from forensics.records import UserError
from forensics.report.build import row_score
from forensics.run import load_run
from jobs.report import ReportJob, report
from jobs.scan import ScanJob, scan
from jobs.tracking import TrackingSettings
from tests.browser import chromium
from tests.conftest import ROOT
from tests.jobs.mlflow_site import mlflow_ui, open_run, photograph, wait_for, wait_for_text
from tests.jobs.runs import make_archive, report_rows, scan_job

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_local")]

ODD = "folder-#3: x [1]"
HOSTILE = "<img src=x onerror=\"document.title='owned'\">"
IDS = ["a", ODD, "raise", HOSTILE]


@pytest.fixture(scope="module")
def finished(ray_local: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished scan in ``run``; do not change its outputs."""
    folder = tmp_path_factory.mktemp("finished")
    assert scan(scan_job(make_archive(folder, IDS), folder / "run")) == 0
    return folder


def job(finished: Path, *arguments: str) -> ReportJob:
    """From a command line, as ids with odd characters come."""
    store = f"sqlite:///{finished / 'mlflow.db'}"
    return load(
        ReportJob, None, ["--run", str(finished / "run"), *arguments, "--tracking.uri", store]
    )


def made(finished: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[Path, str]:
    """The bundle's file and its digest, as the job prints them."""
    capsys.readouterr()
    assert report(job(finished, *arguments)) == 0
    out = capsys.readouterr().out
    found = re.search(r"^bundle: (.+)\nSHA-256 ([0-9a-f]{64}), (\d+) members$", out, re.M)
    assert found, out
    return Path(found[1]), found[2]


@pytest.mark.parametrize("image_id", IDS)
def test_a_bundle_is_made_logged_and_checked(
    finished: Path, capsys: pytest.CaptureFixture[str], image_id: str
) -> None:
    path, digest = made(finished, capsys, "--bundle", image_id)
    assert path.parent == finished / "run" / "bundles"
    assert main(["verify", str(path), "--digest", digest]) == 0
    original = finished / "images" / f"{image_id}.jpg"
    assert main(["verify", str(path), "--original", str(original)]) == 0
    client = MlflowClient(f"sqlite:///{finished / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("forensics/report")
    assert experiment is not None
    logged = client.search_runs(
        [experiment.experiment_id], f"tags.`forensics.bundle.sha256` = '{digest}'"
    )
    assert [run.data.tags["forensics.image_id"] for run in logged] == [image_id]
    with zipfile.ZipFile(path) as archive:
        manifest = client.download_artifacts(logged[0].info.run_id, "MANIFEST.json")
        assert Path(manifest).read_bytes() == archive.read("MANIFEST.json")


def test_the_examination_is_repeated_from_the_bundle(
    finished: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    target = tmp_path / "b.zip"
    path, _ = made(finished, capsys, "--bundle", ODD, "--original", "true", "--output", str(target))
    assert path == target
    with zipfile.ZipFile(path) as archive:
        archive.extractall(tmp_path / "open")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    folder = tmp_path / "open" / "repeat"  # Ray runs elsewhere, and takes whole paths
    places = ["--manifest", str(folder / "manifest.parquet"), "--output", str(folder / "scan")]
    repeat = load(ScanJob, folder / "scan.yaml", places)
    assert repeat.tracking == TrackingSettings()
    assert scan(repeat) == 0
    [row] = report_rows(folder / "scan")
    [known] = [r for r in report_rows(finished / "run") if r["image_id"] == ODD]
    assert row | {"row": known["row"]} == known
    file = (tmp_path / "open" / "original" / "file").read_bytes()
    assert file == (finished / "images" / f"{ODD}.jpg").read_bytes()


def test_options_of_a_bundle_without_one_are_refused(finished: Path) -> None:
    with pytest.raises(UserError, match="give --bundle IMAGE_ID"):
        report(job(finished, "--output", "x.zip"))
    with pytest.raises(UserError, match="has no image 'b'"):
        report(job(finished, "--bundle", "b"))


def test_decisions_go_into_the_run_the_page_and_mlflow(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    [row] = [row for row in report_rows(finished / "run") if row["image_id"] == ODD]
    made = {
        "image_id": ODD,
        "sha256": row["sha256"],
        "decision": "forged",
        "reason": "<b>two suns</b>",
        "reviewer": "A. B.",
        "decided": "2026-03-01T10:00:00Z",
    }
    run = load_run(str(finished / "run"))
    file = tmp_path / "decisions.json"
    file.write_text(json.dumps({"format": 1, "run": run.digest, "decisions": [made]}))
    assert report(job(finished, "--decisions", str(file))) == 0
    assert "1 new decisions; 1 images decided (forged 1)" in capsys.readouterr().out
    page = (finished / "run" / "page.html").read_text(encoding="utf-8")
    assert "two suns" in page
    assert "<b>two suns" not in page
    client = MlflowClient(f"sqlite:///{finished / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("forensics/report")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], "metrics.`decisions.forged` = 1")
    assert [item.path for item in client.list_artifacts(runs[0].info.run_id)] == ["decisions.json"]
    with pytest.raises(UserError, match="one by one"):
        report(job(finished, "--decisions", str(file), "--bundle", ODD))
    file.write_text(json.dumps({"format": 1, "run": "0" * 64, "decisions": [made]}))
    with pytest.raises(UserError, match="another run"):
        report(job(finished, "--decisions", str(file)))


@pytest.mark.browser
def test_a_reviewer_sees_the_page_and_mlflow(finished: Path, tmp_path: Path) -> None:
    """With SCREENSHOTS_OF=demo of the scan of `make scan`, and the docs get the pictures."""
    case = os.environ.get("SCREENSHOTS_OF")
    where = ROOT / "docs" / "images" if case else tmp_path
    run = load_run(str(Path(case, "scan").resolve() if case else finished / "run"))
    store = f"sqlite:///{Path(run.uri).parent / 'mlflow.db'}"
    scanned = sorted(report_rows(run.uri), key=lambda row: -(row_score(row, run.findings) or -1))
    first = Path(scanned[0]["uri"]).name
    counts = Counter(row["status"] for row in scanned)
    client = MlflowClient(store)
    experiment = client.get_experiment_by_name("forensics/scan")
    assert experiment is not None
    [logged] = client.search_runs([experiment.experiment_id])
    ids = experiment.experiment_id, logged.info.run_id

    with chromium(tmp_path, 1440, 987) as browser:
        browser.get(Path(run.uri, "page.html").as_uri())
        wait_for(browser, "document.querySelector('.frame img')?.naturalWidth > 100")
        wait_for(browser, "document.querySelector('.row .tile img')?.naturalWidth > 0")
        text = browser.find_element("tag name", "body").text
        assert f"{len(scanned)} images scanned" in text
        for status, count in counts.items():
            pill = browser.find_element("css selector", f"[data-status={status}]").text
            assert pill.split()[-1] == str(count)
        assert browser.find_element("tag name", "h2").text == first
        assert len(browser.find_elements("css selector", ".row")) >= min(len(scanned), 8)
        assert browser.get_log("browser") == []
        photograph(browser, where / "page.webp")

        browser.set_window_size(1600, 1140)
        with mlflow_ui(store, tmp_path / "ui.log") as address:
            open_run(browser, address, *ids, "/artifacts/suspects.json")
            wait_for_text(browser, "View as table")
            wait_for_text(browser, first)
            heads = browser.find_elements("css selector", "[role=columnheader]")
            assert [head.text for head in heads][:4] == ["rank", "file", "score", "detector"]
            photograph(browser, where / "mlflow-table.webp")

            browser.get("about:blank")
            open_run(browser, address, *ids, "/artifacts/contact-sheet.png")
            wait_for(browser, "[...document.images].some(i => i.naturalWidth > 256)")
            photograph(browser, where / "mlflow-contact-sheet.webp")

            browser.get("about:blank")
            open_run(browser, address, *ids)
            wait_for_text(browser, f"rows in {len(scanned)}, rows out {len(scanned)}")
            wait_for_text(browser, "images.done")
            more = (
                "[...document.querySelectorAll('button, a')].find(e => e.innerText == 'Show more')"
            )
            wait_for(browser, f"(more => more && (more.click(), true))({more})")
            wait_for_text(browser, f"--run {run.uri} --bundle IMAGE_ID")
            listed = "[...document.querySelectorAll('td')].map(e => e.innerText.trim())"
            wait_for(browser, f"{listed}.includes(arguments[0])", first)
            assert not browser.find_elements("css selector", "img[src=x]")
            assert browser.title != "owned"
            photograph(browser, where / "mlflow-run.webp")
