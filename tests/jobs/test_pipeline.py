"""All jobs in a row on a small simulated archive, from files to evaluation, on a real S3 server."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from forensics import manifest, storage
from forensics.prnu.library import CameraLibrary
from forensics.synth import ArchiveSettings, make_archive
from tests.jobs.runs import map_rows, report_rows, start
from tests.s3server import S3Server

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]

SETTINGS = ArchiveSettings(
    cameras=2,
    width=640,
    height=480,
    reference_images=6,
    training_images=4,
    archive_images=12,
    seed=5,
)
SMALL = ["--pool.workers", "2"]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Simulated reference, training and archive images with their truth."""
    folder = tmp_path_factory.mktemp("simulated") / "archive"
    make_archive(folder, SETTINGS)
    return folder


def run(module: str, *arguments: str, code: int = 0) -> str:
    process = start(module, *arguments)
    out, _ = process.communicate(timeout=300)
    assert process.returncode == code, out
    return out


def pipeline(archive: str, work: str, tracking: str) -> None:
    """The README's commands."""
    track = ["--tracking.uri", tracking]
    for name in ("reference", "training", "archive"):
        run("jobs.ingest", "--source", f"{archive}/{name}", "--output", f"{work}/{name}.parquet")
    models = f"{work}/models"
    reference = ["--manifest", f"{work}/reference.parquet", "--output", models]
    run("jobs.fingerprint", *reference, *track, *SMALL)
    training = ["--manifest", f"{work}/training.parquet", "--models", models]
    run("jobs.camera_model", *training, *track, *SMALL)
    scan = ["--config", "configs/scan.yaml", "--manifest", f"{work}/archive.parquet"]
    scan += ["--camera_models", models, "--output", f"{work}/scan", "--shard_rows", "5"]
    run("jobs.scan", *scan, *track, *SMALL)
    truth = ["--run", f"{work}/scan", "--truth", f"{archive}/truth.parquet"]
    run("jobs.evaluate", *truth, *track, *SMALL)
    run("jobs.report", "--run", f"{work}/scan", "--pictures", "3")


def check(archive: str, work: str) -> None:
    """What the pipeline must have found."""
    truth = {row.image_id: row for row in manifest.read(f"{archive}/truth.parquet")}
    rows = {row["image_id"]: row for row in report_rows(f"{work}/scan")}
    assert rows.keys() == truth.keys()
    cameras = {entry.camera_id for entry in CameraLibrary(f"{work}/models")}
    assert len(cameras) == 2
    for image_id, row in rows.items():
        if truth[image_id].camera_id in cameras:
            assert row["status"] == "ok", row
            assert row["camera"]["best_camera"] == truth[image_id].camera_id
        elif truth[image_id].label == "pristine":  # a camera nobody has a fingerprint of
            assert row["prnu"]["status"] == "not_applicable", row
    odd = {name: row["status"] for name, row in rows.items() if name.startswith("odd")}
    assert odd["odd_text.jpg"] == odd["odd_truncated.jpg"] == "unreadable"
    assert odd["odd_tiny.jpg"] == "not_applicable"
    kinds = Counter(item["kind"] for item in map_rows(f"{work}/scan"))
    assert kinds["probability"] == kinds["decision"] > 0
    summary = json.loads(storage.read(f"{work}/scan/evaluation/summary.json"))
    assert "prnu" in json.dumps(summary)
    page = storage.read(f"{work}/scan/page.html").decode()
    assert page.count("data-mime") >= 3


@pytest.mark.s3
def test_s3(archive: Path, s3_server: S3Server, tmp_path: Path) -> None:
    for path in sorted(archive.rglob("*")):
        if path.is_file():
            storage.write(s3_server.uri("in", str(path.relative_to(archive))), path.read_bytes())
    source, work = s3_server.uri("in"), s3_server.uri("work")
    pipeline(source, work, f"sqlite:///{tmp_path / 'mlflow.db'}")
    check(source, work)


def test_an_extended_fingerprint_equals_one_made_at_once(archive: Path, tmp_path: Path) -> None:
    rows = list(manifest.read(str(archive / "reference.parquet")))
    parts = {"first": rows[::2], "second": rows[1::2], "all": rows}
    for name, part in parts.items():
        manifest.write_manifest(part, str(tmp_path / f"{name}.parquet"))

    def fingerprint(name: str, folder: str, *extra: str, code: int = 0) -> str:
        where = [
            "--manifest",
            str(tmp_path / f"{name}.parquet"),
            "--output",
            str(tmp_path / folder),
        ]
        return run("jobs.fingerprint", *where, *SMALL, *extra, code=code)

    fingerprint("all", "whole")
    fingerprint("first", "grown")
    assert "existing" in fingerprint("second", "grown", code=2)
    fingerprint("second", "grown", "--existing", "extend")
    out = fingerprint("first", "grown", "--existing", "extend")
    assert "is in the fingerprint already" in out
    whole, grown = CameraLibrary(str(tmp_path / "whole")), CameraLibrary(str(tmp_path / "grown"))
    for entry in whole:
        one, other = whole.model(entry.camera_id), grown.model(entry.camera_id)
        assert [i.image_id for i in one.reference] == [i.image_id for i in other.reference]
        scale = one.fingerprint.abs().max()
        assert (one.fingerprint - other.fingerprint).abs().max() < 1e-4 * scale
