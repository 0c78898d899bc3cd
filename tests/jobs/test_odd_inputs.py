"""Every damaged, hostile and unusual file of the real collection, in one scan."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from jobs.ingest import IngestJob, ingest
from jobs.scan import scan
from tests.jobs.runs import report_rows, scan_job

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_local")]


def test_no_file_is_lost_and_none_crashes_a_worker(shared: Path, tmp_path: Path) -> None:
    odd = shared / "data" / "odd_inputs"
    if not odd.is_dir():
        pytest.skip("needs the odd files in ../shared/data, which are absent")
    manifest = str(tmp_path / "odd.parquet")
    assert ingest(IngestJob(source=str(odd), output=manifest, suffixes=("",))) == 0
    job = scan_job(manifest, tmp_path / "run", detectors=("camera", "prnu"), shard_rows=64)
    assert scan(job) == 0
    rows = report_rows(job.output)
    files = {str(path.relative_to(odd)) for path in odd.rglob("*") if path.is_file()}
    assert {row["image_id"] for row in rows} == files
    counts = Counter(row["status"] for row in rows)
    assert set(counts) == {"not_applicable", "unreadable"}  # without camera models all abstain
    assert counts["unreadable"] > 100
    assert all(row["reason"] for row in rows)
    assert all(row["sha256"] and row["size"] is not None for row in rows)
