"""All jobs in a row by their shipped files of settings, from images to evaluation, on a real S3
server and a Ray that runs on its own."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from forensics import manifest, storage
from forensics.prnu.library import CameraLibrary
from forensics.records import UserError
from forensics.synth import ArchiveSettings, make_archive
from jobs.cluster import PoolSettings
from jobs.entry import OK
from jobs.fingerprint import FingerprintJob, fingerprint
from tests.jobs.heads import running_head
from tests.jobs.runs import map_rows, report_rows, start
from tests.jobs.shipped import CONFIGS
from tests.jobs.trainings import words
from tests.patience import PATIENCE_SECONDS
from tests.s3server import S3Server

pytestmark = [pytest.mark.ray, pytest.mark.slow]

SETTINGS = ArchiveSettings(
    cameras=2,
    width=640,
    height=480,
    reference_images=6,
    training_images=4,
    archive_images=12,
    seed=5,
)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Simulated reference, training and archive images with their truth."""
    folder = tmp_path_factory.mktemp("simulated") / "archive"
    make_archive(folder, SETTINGS)
    return folder


def pipeline(archive: str, work: str, tracking: str, ray_address: str) -> None:
    """The README's commands."""

    def run(job: str, **settings: str) -> None:
        given = words({"config": CONFIGS[job], **settings})
        process = start(f"jobs.{job}", *given, env={"RAY_ADDRESS": ray_address})
        out, _ = process.communicate(timeout=PATIENCE_SECONDS)
        assert process.returncode == OK, out

    small = {"tracking.uri": tracking, "pool.workers": "2"}
    models, scanned = f"{work}/models", f"{work}/scan"
    for name in ("reference", "training", "archive"):
        run("ingest", source=f"{archive}/{name}", output=f"{work}/{name}.parquet")
    run("fingerprint", manifest=f"{work}/reference.parquet", output=models, **small)
    run("camera_model", manifest=f"{work}/training.parquet", models=models, **small)
    images = {"manifest": f"{work}/archive.parquet", "camera_models": models}
    run("scan", **images, output=scanned, shard_rows="5", **small)
    run("evaluate", run=scanned, truth=f"{archive}/truth.parquet", **small)
    storage.delete(f"{scanned}/page.html")
    run("report", run=scanned, pictures="3")


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
    with running_head(cpus=3, env=dict(os.environ)) as head:
        pipeline(source, work, f"sqlite:///{tmp_path / 'mlflow.db'}", head.address)
    check(source, work)


def test_an_extended_fingerprint_equals_one_made_at_once(
    ray_local: None, archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = list(manifest.read(str(archive / "reference.parquet")))
    parts = {"first": rows[::2], "second": rows[1::2], "all": rows}
    for name, part in parts.items():
        manifest.write_manifest(part, str(tmp_path / f"{name}.parquet"))

    def made(name: str, folder: str, **more: Any) -> None:
        where = {"manifest": str(tmp_path / f"{name}.parquet"), "output": str(tmp_path / folder)}
        job = FingerprintJob(**where, pool=PoolSettings(workers=2), **more)
        assert fingerprint(job) == OK

    made("all", "whole")
    made("first", "grown")
    with pytest.raises(UserError, match="existing"):
        made("second", "grown")
    made("second", "grown", existing="extend")
    capsys.readouterr()
    made("first", "grown", existing="extend")
    assert "is in the fingerprint already" in capsys.readouterr().out
    whole, grown = CameraLibrary(str(tmp_path / "whole")), CameraLibrary(str(tmp_path / "grown"))
    for entry in whole:
        one, other = whole.model(entry.camera_id), grown.model(entry.camera_id)
        assert [i.image_id for i in one.reference] == [i.image_id for i in other.reference]
        scale = one.fingerprint.abs().max()
        assert (one.fingerprint - other.fingerprint).abs().max() < 1e-4 * scale
