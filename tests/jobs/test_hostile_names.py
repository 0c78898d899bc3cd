"""Names that would clear a terminal, forge a line of a log or reorder it: jobs print none raw."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from forensics.manifest import write_manifest
from forensics.records import ManifestRow, UserError
from forensics.report.decisions import merge
from forensics.run import load_run
from jobs.checks import Check, State
from jobs.cluster import PoolSettings
from jobs.fingerprint import FingerprintJob, fingerprint
from jobs.ingest import IngestJob, ingest
from jobs.scan import scan
from jobs.tracking import TrackingSettings
from jobs.truth import named
from tests.jobs.photos import flat, put
from tests.jobs.runs import report_rows, scan_job

FORGED = "rows in 9, rows out 9"
NAME = f"a\x1b[2J\n{FORGED}\u202egpj"
RAW = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]")


def harmless(text: str) -> bool:
    return not RAW.search(text) and FORGED not in (line.strip() for line in text.splitlines())


def hostile(folder: Path, name: str = NAME) -> list[ManifestRow]:
    """An image, one that is none, and one that is not there."""
    image = folder / f"1{name}.png"
    Image.new("RGB", (16, 16), "grey").save(image)
    (folder / f"2{name}.png").write_bytes(b"no image")
    paths = [image, folder / f"2{name}.png", folder / f"3{name}.png"]
    return [ManifestRow(f"{n}{name}", str(path), "a") for n, path in enumerate(paths)]


@pytest.mark.ray
@pytest.mark.usefixtures("ray_local")
def test_scan_and_fingerprint_print_no_name_raw(
    tmp_path: Path, store: str, capfd: pytest.CaptureFixture[str]
) -> None:
    rows = hostile(tmp_path)
    manifest = str(tmp_path / "archive.parquet")
    write_manifest(rows, manifest)
    job = scan_job(manifest, tmp_path / "run", tracking=TrackingSettings(uri=store))
    assert scan(job) == 0
    found = {row["image_id"]: row for row in report_rows(job.output)}
    assert [found[row.image_id]["status"] for row in rows] == ["ok", "unreadable", "unreadable"]
    assert all(harmless(row["reason"] or "") for row in found.values())
    good = put(tmp_path, "good", "a", flat(1, 1))
    write_manifest([good, *rows[1:]], manifest)
    values: dict[str, Any] = {"pool": PoolSettings(workers=2), "tracking": job.tracking}
    made = FingerprintJob(manifest=manifest, output=str(tmp_path / "models"), **values)
    assert fingerprint(made) == 0
    said = "".join(capfd.readouterr())
    assert "1a⟨U+001B⟩[2J⟨U+000A⟩" in said  # the images that were not used are named
    assert harmless(said)
    run = load_run(job.output)
    made_up = {
        "image_id": NAME,
        "sha256": None,
        "decision": "forged",
        "decided": "2026-03-01T10:00Z",
    }
    file = tmp_path / "decisions.json"
    file.write_text(json.dumps({"format": 1, "run": run.digest, "decisions": [made_up]}))
    with pytest.raises(UserError, match="no such image") as refused:
        merge(run, str(file))
    assert harmless(f"error: {refused.value}")


def test_ingest_prints_no_ending_raw(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hostile(tmp_path)
    (tmp_path / f"x.{NAME}").write_bytes(b"")
    assert ingest(IngestJob(source=str(tmp_path), output=str(tmp_path / "found.parquet"))) == 0
    said = "".join(capsys.readouterr())
    assert "endings: .a⟨U+001B⟩[2j⟨U+000A⟩" in said
    assert harmless(said)


def test_a_check_is_one_line_and_what_belongs_to_it() -> None:
    said = str(Check("manifest", State.BAD, f"{NAME}\nok       manifest   fine"))
    assert not RAW.search(said)
    assert [line for line in said.splitlines() if not line.startswith(" ")] == said.splitlines()[:1]


def test_errors_and_lists_of_ids_are_harmless() -> None:
    assert not RAW.search(str(UserError(f"{NAME}: bad")))
    assert harmless(named([NAME]))
