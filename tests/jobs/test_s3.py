"""Everything on a real S3 server: manifest, images, camera models, outputs; outages; bad keys."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from forensics import storage
from forensics.manifest import write_manifest
from forensics.records import ManifestRow
from tests.images import noise_jpeg
from tests.jobs.runs import report_rows, scan_arguments, start
from tests.patience import PATIENCE_SECONDS, until
from tests.s3server import S3Server

pytestmark = [pytest.mark.ray, pytest.mark.s3]


def put_archive(server: S3Server, name: str, ids: list[str]) -> str:
    """Images and their manifest on the server; returns the manifest's URI."""
    rows = []
    for place, image_id in enumerate(ids):
        uri = f"{server.uri(name)}/images/{image_id}.jpg"
        storage.write(uri, noise_jpeg(place))
        rows.append(ManifestRow(image_id, uri))
    manifest = f"{server.uri(name)}/archive.parquet"
    write_manifest(rows, manifest)
    return manifest


def tracking(folder: Path) -> dict[str, str]:
    return {"tracking.uri": f"sqlite:///{folder / 'mlflow.db'}"}


@pytest.mark.faults
def test_a_server_that_is_away_for_ten_seconds_only_delays(
    s3_server: S3Server, tmp_path: Path
) -> None:
    ids = [f"slow{n}" for n in range(40)]
    manifest = put_archive(s3_server, "outage", ids)
    output = s3_server.uri("outage/run")
    process = start("jobs.scan", *scan_arguments(manifest, output, **tracking(tmp_path)))
    until(lambda: list(storage.list(f"{output}/report")), process)
    s3_server.stop()
    time.sleep(10)
    s3_server.start()
    out, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, out
    rows = report_rows(output)
    assert [row["image_id"] for row in rows] == ids
    assert {row["status"] for row in rows} == {"ok"}
    assert storage.exists(f"{output}/page.html")


def test_wrong_credentials_are_one_clear_message(s3_server: S3Server, tmp_path: Path) -> None:
    manifest = put_archive(s3_server, "denied", ["a"])
    secret = "wrong-secret-0123456789abcdef"
    env = {"AWS_SECRET_ACCESS_KEY": secret}
    arguments = scan_arguments(manifest, s3_server.uri("denied/run"), **tracking(tmp_path))
    process = start("jobs.scan", *arguments, env=env)
    out, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 2, out
    errors = [line for line in out.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert "denied" in errors[0]
    assert "Traceback" not in out
    for value in (secret, os.environ["AWS_SECRET_ACCESS_KEY"], os.environ["AWS_ACCESS_KEY_ID"]):
        assert value not in out


def test_no_secret_is_written_anywhere(s3_server: S3Server, tmp_path: Path) -> None:
    manifest = put_archive(s3_server, "quiet", ["a", "raise"])
    output = s3_server.uri("quiet/run")
    process = start("jobs.scan", *scan_arguments(manifest, output, **tracking(tmp_path)))
    out, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, out
    secret = os.environ["AWS_SECRET_ACCESS_KEY"].encode()
    written = [out.encode(), *(p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())]
    written += [storage.read(entry.uri) for entry in storage.list(output)]
    assert len(written) > 5
    assert not any(secret in content for content in written)
