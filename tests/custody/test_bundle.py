"""Bundles of images of small runs: what is in them, and that they can be relied on."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from forensics.custody.bundle import make_bundle
from forensics.custody.verify import inspect
from forensics.manifest import read
from forensics.records import ManifestRow, UserError
from forensics.run import Run
from forensics.schema import map_records, report_record
from tests.evaluate.runs import CELLS, answer, cells, commit_run, report

IDS = ["a.jpg", "folder/../b c.jpg", "#3: 'odd' \u202e.jpg", "unread", "last"]


def members(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Five images in three shards, the fourth without an answer of a detector."""
    probability = np.linspace(0, 1, CELLS[0] * CELLS[1], dtype=np.float32).reshape(CELLS)
    rows = []
    for n, image_id in enumerate(IDS):
        path = tmp_path / f"original-{n}.png"
        Image.fromarray(np.full((20, 28, 3), 10 * n, np.uint8)).save(path)
        rows.append(ManifestRow(image_id, str(path), camera_id="A"))
    found = answer(probability, cells((1, 1)), 0.75)
    answers = [(row, None if row.image_id == "unread" else found) for row in rows]
    made = commit_run(tmp_path, answers, shard_rows=2)
    for shard in range(made.shards):
        reports = {}
        for n in made.rows_of(shard):
            data = Path(rows[n].uri).read_bytes()
            sha256 = hashlib.sha256(data).hexdigest()
            reports[n] = replace(report(*answers[n]), sha256=sha256, size=len(data))
        made.commit(
            shard,
            [report_record(n, r) for n, r in reports.items()],
            [item for r in reports.values() for item in map_records(r)],
        )
    return made


@pytest.mark.parametrize("image_id", IDS)
def test_a_bundle_has_all_of_its_image_and_nothing_of_others(run: Run, image_id: str) -> None:
    bundle = make_bundle(run, image_id)
    assert bundle.sha256 == hashlib.sha256(bundle.data).hexdigest()
    finding = inspect(io.BytesIO(bundle.data))
    assert (finding.problems, finding.members) == ([], bundle.members)
    assert finding.manifest["image_id"] == image_id
    parts = members(bundle.data)
    assert parts["MANIFEST.json"].decode() == bundle.manifest
    place = IDS.index(image_id)
    [record] = [r for r in run.report(place // 2).to_pylist() if r["image_id"] == image_id]
    assert json.loads(parts["report.json"]) == record
    assert finding.manifest["original"] == {k: record[k] for k in ("uri", "sha256", "size")}
    assert parts["run.json"] == Path(run.uri, "run.json").read_bytes()
    listed: list[dict[str, Any]] = json.loads(parts["maps.json"])
    stored = [m for m in run.maps(place // 2).to_pylist() if m["image_id"] == image_id]
    assert len(listed) == len(stored) == (0 if image_id == "unread" else 2)
    for item, known in zip(listed, stored, strict=True):
        assert parts[item["file"]] == known["png"]
        assert {k: item[k] for k in ("detector", "kind", "stride", "sha256")} == {
            k: known[k] for k in ("detector", "kind", "stride", "sha256")
        }
    assert len([name for name in parts if name.startswith("maps/")]) == len(listed)
    assert "original/file" not in parts
    assert record["sha256"] in parts["README.txt"].decode("ascii")


def test_the_same_run_gives_the_same_bytes(run: Run) -> None:
    assert make_bundle(run, "a.jpg") == make_bundle(run, "a.jpg")


def test_the_file_itself_goes_in_if_asked_for(run: Run, tmp_path: Path) -> None:
    data = make_bundle(run, "a.jpg", original=True).data
    assert members(data)["original/file"] == (tmp_path / "original-0.png").read_bytes()
    (tmp_path / "original-0.png").write_bytes(b"another")
    with pytest.raises(UserError, match="is not the file that was examined"):
        make_bundle(run, "a.jpg", original=True)
    assert "original/file" not in members(make_bundle(run, "a.jpg").data)


def test_the_manifest_and_settings_repeat_this_image(run: Run, tmp_path: Path) -> None:
    document = Path(run.uri, "run.json")
    settings = {"manifest": "m", "output": "o", "camera_models": "models", "retry": ["failed"]}
    settings |= {"limit": 3, "tracking": {"uri": "http://me:secret@host"}, "prnu": {"stride": 4}}
    document.write_text(json.dumps({**json.loads(document.read_text()), "settings": settings}))
    data = make_bundle(run, IDS[1]).data
    assert b"secret" not in data
    parts = members(data)
    (tmp_path / "m.parquet").write_bytes(parts["repeat/manifest.parquet"])
    [row] = read(str(tmp_path / "m.parquet"))
    assert (row.image_id, row.camera_id) == (IDS[1], "A")
    assert row.uri == str(tmp_path / "original-1.png")
    assert yaml.safe_load(parts["repeat/scan.yaml"]) == {
        "manifest": "repeat/manifest.parquet",
        "output": "repeat/scan",
        "camera_models": "models",
        "prnu": {"stride": 4},
        "limit": None,
        "retry": [],
    }


def test_an_image_that_is_not_there_is_named(run: Run) -> None:
    with pytest.raises(UserError, match=r"has no image 'c\.jpg'"):
        make_bundle(run, "c.jpg")


def test_an_image_without_an_answer_yet(run: Run) -> None:
    Path(run.report_uri(2)).unlink()
    with pytest.raises(UserError, match="'last' is not answered yet"):
        make_bundle(run, "last")


def test_a_damaged_map_is_not_passed_on(run: Run) -> None:
    maps = run.maps(0).to_pylist()
    maps[0]["png"] = maps[0]["png"][:-1] + b"\0"
    run.commit(0, run.report(0).to_pylist(), maps)
    with pytest.raises(UserError, match=r"a map of 'a\.jpg' is damaged"):
        make_bundle(run, "a.jpg")
