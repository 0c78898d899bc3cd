"""One manifest row in, one report row out: statuses, reasons, limits."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch

from forensics import storage
from forensics.detectors import columns
from forensics.limits import Limits
from forensics.records import (
    Evidence,
    Finding,
    ManifestRow,
    Status,
    Unreadable,
    UserError,
    explain,
)
from forensics.scan import (
    Scanner,
    ScanSettings,
    build_detectors,
    identities,
    summarise,
    unfetched,
)
from tests.images import noise_jpeg, write_images
from tests.saboteur import NAME

OK = Finding()
ABSTAINED = Finding(Status.NOT_APPLICABLE, "too small")
FAILED = Finding(Status.FAILED, "KeyError: 'a'")
ROW = ManifestRow("image", "image.jpg")


def scanner(**limits: float) -> Scanner:
    return Scanner(ScanSettings(detectors=(NAME,), limits=Limits(**limits), device="cpu"))


def evidence(data: bytes) -> Evidence:
    return Evidence(data, hashlib.sha256(data).hexdigest())


@pytest.mark.parametrize(
    ("findings", "status", "reason"),
    [
        ({"a": OK, "b": OK}, Status.OK, None),
        ({"a": OK, "b": ABSTAINED}, Status.OK, None),
        ({"a": ABSTAINED, "b": OK}, Status.OK, None),
        ({"a": OK, "b": FAILED}, Status.FAILED, "b: KeyError: 'a'"),
        ({"a": FAILED, "b": ABSTAINED, "c": OK}, Status.FAILED, "a: KeyError: 'a'"),
        ({"a": FAILED, "b": FAILED}, Status.FAILED, "a: KeyError: 'a'; b: KeyError: 'a'"),
        ({"a": ABSTAINED, "b": ABSTAINED}, Status.NOT_APPLICABLE, "a: too small; b: too small"),
    ],
)
def test_a_row_is_as_its_detectors(
    findings: dict[str, Finding], status: Status, reason: str | None
) -> None:
    assert summarise(findings) == (status, reason)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("bad\n  shape\t3"), "ValueError: bad shape 3"),
        (KeyError("a"), "KeyError: 'a'"),
        (RuntimeError(), "RuntimeError: "),
        (MemoryError(), "MemoryError: "),
        (MemoryError("needs 9 GiB"), "needs 9 GiB"),
        (Unreadable("no image"), "no image"),
        (storage.NotFound("no object s3://b/k"), "no object s3://b/k"),
        (ValueError("x" * 2000), "ValueError: " + "x" * 500),
    ],
)
def test_an_exception_becomes_one_line(error: Exception, line: str) -> None:
    assert explain(error) == line


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (storage.NotFound("gone"), Status.UNREADABLE),
        (storage.AccessDenied("denied"), Status.FAILED),  # a retry may be let in, or find it there
        (storage.Unavailable("the server is away"), Status.FAILED),
        (storage.StorageError("the disk is ill"), Status.FAILED),
        (OSError("cable"), Status.FAILED),
    ],
)
def test_bytes_that_could_not_be_had(error: Exception, status: Status) -> None:
    report = unfetched(ROW, error)
    assert (report.row, report.status) == (ROW, status)
    assert str(error) in str(report.reason)
    assert (report.sha256, report.width, dict(report.findings)) == (None, None, {})


def test_a_missing_file_is_a_row_that_names_it(tmp_path: Path) -> None:
    absent = ManifestRow("absent", str(tmp_path / "absent.jpg"))
    report = scanner().answer(absent)
    assert report.status is Status.UNREADABLE
    assert "absent.jpg" in str(report.reason)


def test_an_answer_says_what_the_image_is(tmp_path: Path) -> None:
    data = noise_jpeg(1, height=20, width=28, quality=83)
    path = tmp_path / "a.jpg"
    path.write_bytes(data)
    report = scanner().answer(ManifestRow("a", str(path)))
    assert report.status is Status.OK
    assert (report.width, report.height, report.format, report.bit_depth) == (28, 20, "JPEG", 8)
    assert (report.size, report.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert (report.jpeg_quality, report.orientation) == (83, 1)
    assert report.findings["saboteur"].score is not None
    assert report.seconds >= report.findings["saboteur"].seconds > 0


@pytest.mark.parametrize("case", [str.lower, str.upper])
def test_a_changed_file_is_not_examined(tmp_path: Path, case: Any) -> None:
    [row] = write_images(tmp_path, ["a"])
    same = ManifestRow("a", row.uri, sha256=case(str(row.sha256)))
    assert scanner().answer(same).status is Status.OK
    Path(row.uri).write_bytes(noise_jpeg(99))
    report = scanner().answer(same)
    assert report.status is Status.FAILED
    assert report.reason == f"the file has changed: the manifest gives SHA-256 {same.sha256}"
    assert report.sha256 == hashlib.sha256(noise_jpeg(99)).hexdigest()  # what is there now
    assert not report.findings
    assert report.width is None


@pytest.mark.parametrize("data", [b"", b"no image at all", noise_jpeg(1)[:200]])
def test_what_is_no_image_is_unreadable(data: bytes) -> None:
    report = scanner().examine(ROW, evidence(data))
    assert report.status is Status.UNREADABLE
    assert report.reason
    assert (report.size, report.sha256) == (len(data), evidence(data).sha256)


def test_an_image_with_too_many_pixels_is_reported() -> None:
    report = scanner(max_megapixels=0.0001).examine(ROW, evidence(noise_jpeg(1)))  # 256 pixels
    assert report.status is Status.UNREADABLE
    assert "0.0001" in str(report.reason)


def test_an_image_that_needs_too_much_memory_is_reported() -> None:
    data = evidence(noise_jpeg(1, height=1000, width=2000))  # 100 bytes per pixel
    report = scanner(memory_gib=0.1).examine(ROW, data)
    assert report.status is Status.FAILED
    assert str(report.reason).startswith(
        "saboteur: 2000x1000 pixels need about 0.2 GiB, the limit is "
    )
    assert "0.1" in str(report.reason)
    assert scanner(memory_gib=0.2).examine(ROW, data).status is Status.OK


@pytest.mark.parametrize(
    ("image_id", "status", "reason"),
    [
        ("raise", Status.FAILED, "saboteur: RuntimeError: this image is sabotaged"),
        ("abstain", Status.NOT_APPLICABLE, "saboteur: asked to abstain"),
    ],
)
def test_what_a_detector_raises_becomes_the_row(image_id: str, status: Status, reason: str) -> None:
    report = scanner().examine(ManifestRow(image_id, "x.jpg"), evidence(noise_jpeg(1)))
    assert (report.status, report.reason) == (status, reason)
    assert report.findings["saboteur"].status is status
    assert report.width == 16


def test_detectors_that_cannot_be_loaded_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no detector 'camra'; there are: camera, prnu"):
        Scanner(ScanSettings(detectors=("camra",)))
    with pytest.raises(UserError, match="no camera models in"):
        Scanner(ScanSettings(camera_models=str(tmp_path)))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("prnuu", "there are: camera, prnu"),
        ("nosuch:Class", "No module named 'nosuch'"),
        ("tests.saboteur:Nope", "has no attribute 'Nope'"),
        ("tests.saboteur:", "no detector 'tests.saboteur:'"),
        (":Class", "no detector ':Class'"),
        (".x:Class", "no detector '.x:Class'"),
    ],
)
def test_a_detector_that_is_not_there_is_named(name: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        columns([name])
    assert message in str(error.value)


def test_identities_are_by_detector() -> None:
    detectors = build_detectors(ScanSettings(detectors=(NAME, "camera")), torch.device("cpu"))
    assert identities(detectors) == {"saboteur": {}, "camera": {"camera_models": None}}
