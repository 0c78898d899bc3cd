"""What every detector promises. A detector named in `BUILDERS` is tested by being there."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as PilImage

from forensics.detectors import BUILDERS, Detector, Resources, Subject, build, columns
from forensics.limits import GIB, Limits
from forensics.prnu.library import CameraLibrary
from forensics.records import Evidence, Finding, Image, Map, NotApplicable, ReportRow, Status
from forensics.scan import Scanner, ScanSettings
from forensics.schema import MAPS, from_parquet, map_records, report_record, report_schema
from forensics.schema import to_parquet as parquet
from tests.contract.subjects import (
    CONTENTS,
    SIZES,
    STRANGER,
    TRAINED,
    UNTRAINED,
    image,
    row,
    sections_with_weights,
    write_models,
)
from tests.decode.test_decoder import RGB16, png, png_rows, saved
from tests.prnu.cameras import HEIGHT, WIDTH, camera, photo

NAMES = tuple(BUILDERS)
CLAIMS = (None, TRAINED, UNTRAINED, STRANGER)

each_detector = pytest.mark.parametrize("name", NAMES)


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of camera models."""
    return write_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def resources(models: str) -> Resources:
    return Resources(torch.device("cpu"), CameraLibrary(models))


@pytest.fixture(scope="session")
def settings(models: str, tmp_path_factory: pytest.TempPathFactory) -> ScanSettings:
    """A scan by all detectors that gives each what it needs, and says nothing else about them."""
    weights = tmp_path_factory.mktemp("weights")
    return ScanSettings(
        camera_models=models, detectors=NAMES, device="cpu", **sections_with_weights(weights)
    )


def make(name: str, resources: Resources, settings: ScanSettings) -> Detector:
    """A detector with its section of these settings."""
    return build([name], {name: getattr(settings, name, None)}, resources)[0]


@pytest.fixture(scope="session")
def detectors(resources: Resources, settings: ScanSettings) -> dict[str, Detector]:
    return {name: make(name, resources, settings) for name in NAMES}


def ask(detector: Detector, subject: Subject) -> Finding:
    """The finding, or the abstention as a scan records it."""
    try:
        return detector.examine(subject)
    except NotApplicable as abstention:
        return Finding(Status.NOT_APPLICABLE, str(abstention))


def plain(finding: Finding) -> tuple[Any, ...]:
    """Everything in a finding but the seconds, comparable bit for bit."""
    maps = [(m.kind, m.stride, m.values.shape, m.values.tobytes()) for m in finding.maps]
    values = json.dumps(dict(finding.values), sort_keys=True)  # repr of floats is exact
    return finding.status, finding.reason, finding.score, values, maps


def numbers(value: Any) -> Iterator[float]:
    """All numbers in a column's value."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for inner in value:
            yield from numbers(inner)
    elif isinstance(value, int | float):
        yield value


def check_finding(detector: Detector, finding: Finding, height: int, width: int) -> None:
    assert finding.status in (Status.OK, Status.NOT_APPLICABLE)
    if finding.status is Status.NOT_APPLICABLE:
        assert finding.reason
        assert finding.reason.strip()
    else:
        assert finding.reason is None
    if finding.score is not None:
        assert type(finding.score) is float
        assert 0 <= finding.score <= 1
    assert finding.values.keys() <= detector.columns.keys()
    assert all(math.isfinite(number) for number in numbers(dict(finding.values)))
    for item in finding.maps:
        check_map(item, height, width)
    check_record(detector, finding)


def check_map(item: Map, height: int, width: int) -> None:
    assert item.values.shape == (-(-height // item.stride), -(-width // item.stride))
    if item.kind == "decision":
        assert item.values.dtype == np.bool_
        return
    assert item.kind in ("probability", "confidence", "noiseprint")
    assert item.values.dtype == np.float32
    assert np.isfinite(item.values).all()
    assert item.values.min() >= 0
    assert item.values.max() <= 1


def check_record(detector: Detector, finding: Finding) -> None:
    """What is written is what is read again: a value of the wrong type would raise or change."""
    report = ReportRow(row(), finding.status, finding.reason, findings={detector.name: finding})
    table = from_parquet(
        parquet([report_record(3, report)], report_schema(columns([detector.name])))
    )
    [read] = table.to_pylist()
    struct = read[detector.name]
    assert struct["score"] == finding.score
    assert {name: struct[name] for name in finding.values} == dict(finding.values)
    stored = from_parquet(parquet(map_records(report), MAPS)).to_pylist()
    assert [(m["kind"], m["stride"]) for m in stored] == [(m.kind, m.stride) for m in finding.maps]


@each_detector
def test_it_is_what_the_table_says(detectors: dict[str, Detector], name: str) -> None:
    assert detectors[name].name == name
    assert report_schema(columns([name])).field(name).type.num_fields == 4 + len(
        detectors[name].columns
    )


@each_detector
@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[1]}x{size[0]}")
@pytest.mark.parametrize("content", CONTENTS)
def test_any_image_gets_a_finding_or_a_reason(
    detectors: dict[str, Detector], name: str, size: tuple[int, int], content: str
) -> None:
    subject_image = image(content, *size)
    before = subject_image.pixels.copy()
    for claim in CLAIMS:
        subject = Subject(row(claim), subject_image)
        finding = ask(detectors[name], subject)
        check_finding(detectors[name], finding, *size)
        assert np.array_equal(subject_image.pixels, before)
        assert np.array_equal(subject.pixels.numpy(), before)
        again = ask(detectors[name], Subject(row(claim), subject_image))
        assert plain(again) == plain(finding)


@each_detector
@pytest.mark.parametrize("jpeg_quality", [None, 1, 95, 100])
def test_a_photo_of_a_known_camera_is_judged(
    detectors: dict[str, Detector], name: str, jpeg_quality: int | None
) -> None:
    photographed = image("natural", HEIGHT, WIDTH, jpeg_quality)
    for claim in (None, TRAINED):
        finding = ask(detectors[name], Subject(row(claim), photographed))
        assert finding.status is Status.OK, finding.reason
        check_finding(detectors[name], finding, HEIGHT, WIDTH)


@each_detector
def test_a_crop_is_judged_or_its_reason_given(detectors: dict[str, Detector], name: str) -> None:
    finding = ask(detectors[name], Subject(row(), image("natural", 257, 300)))
    check_finding(detectors[name], finding, 257, 300)
    if finding.status is Status.OK and "offset_y" in finding.values:
        assert (finding.values["offset_y"], finding.values["offset_x"]) == (37, 53)


@each_detector
def test_images_before_do_not_change_an_answer(
    resources: Resources, settings: ScanSettings, name: str
) -> None:
    one = image("natural", HEIGHT, WIDTH), row(None, "one")
    other = image("noise", 257, 300), row(TRAINED, "other")
    third = image("natural", 257, 300), row(UNTRAINED, "third")

    def answers(order: list[tuple[Image, Any]]) -> dict[str, Any]:
        detector = make(name, resources, settings)
        return {r.image_id: plain(ask(detector, Subject(r, i))) for i, r in order}

    assert answers([one, other, third]) == answers([third, other, one])


@each_detector
@pytest.mark.parametrize("claim", CLAIMS)
def test_other_detectors_before_do_not_change_an_answer(
    detectors: dict[str, Detector], name: str, claim: str | None
) -> None:
    for size in ((HEIGHT, WIDTH), (257, 300)):
        examined = image("natural", *size)
        alone = plain(ask(detectors[name], Subject(row(claim), examined)))
        subject = Subject(row(claim), examined)
        for other in NAMES:
            if other != name:
                ask(detectors[other], subject)
        assert plain(ask(detectors[name], subject)) == alone


@each_detector
@pytest.mark.parametrize("library", [True, False])
def test_memory_is_positive_and_grows_with_the_image(
    resources: Resources, settings: ScanSettings, name: str, library: bool
) -> None:
    detector = make(name, resources if library else Resources(torch.device("cpu")), settings)
    fitting = [(1, 1), (13, 17), (64, 64), (96, 80), (96, 81), (HEIGHT, WIDTH)]
    beyond = [(HEIGHT + 1, WIDTH), (1000, 1000), (4000, 6000), (15000, 20000)]
    for sizes in (fitting, beyond):  # what fits no fingerprint is not held against any
        needed = [detector.bytes_needed(height, width) for height, width in sizes]
        assert all(type(n) is int and n > 0 for n in needed)
        assert needed == sorted(needed), dict(zip(sizes, needed, strict=True))


@each_detector
def test_identity_is_plain_and_stable(
    models: str, resources: Resources, settings: ScanSettings, name: str
) -> None:
    def identity(of: Resources) -> str:
        return json.dumps(make(name, of, settings).identity(), sort_keys=True)

    elsewhere = Resources(torch.device("cpu"), CameraLibrary(models))
    detector = make(name, resources, settings)
    before = json.dumps(detector.identity(), sort_keys=True)
    ask(detector, Subject(row(), image("natural", 257, 300)))
    assert json.dumps(detector.identity(), sort_keys=True) == before
    assert identity(elsewhere) == before


def deep_png() -> bytes:
    """A photo of the trained camera as 16-bit PNG."""
    samples = photo(1, 21).astype(np.uint16) * 257
    return png(WIDTH, HEIGHT, 16, 2, png_rows(samples))


def palette() -> bytes:
    """A photo of the trained camera in 16 colours."""
    return saved(PilImage.fromarray(photo(1, 21)).quantize(16), "PNG")


ENCODED = {
    "jpeg": lambda: camera(1).encode(camera(1).natural(21)),
    "grey jpeg": lambda: saved(photo(1, 21)[..., 1], "JPEG", quality=95),
    "png": lambda: saved(photo(1, 21), "PNG"),
    "16-bit png": deep_png,
    "small 16-bit png": lambda: png(17, 13, 16, 2, png_rows(RGB16)),
    "1x1 png": lambda: saved(np.zeros((1, 1, 3), np.uint8), "PNG"),
    "palette": palette,
}


def examine(scanner: Scanner, data: bytes, claim: str | None = None) -> ReportRow:
    return scanner.examine(row(claim), Evidence(data, hashlib.sha256(data).hexdigest()))


@pytest.fixture(scope="module")
def scanner(settings: ScanSettings) -> Scanner:
    """All detectors, as a scan loads them."""
    return Scanner(settings)


@pytest.mark.parametrize("kind", ENCODED)
def test_files_through_the_scanner(scanner: Scanner, kind: str) -> None:
    data = ENCODED[kind]()
    report = examine(scanner, data)
    assert report.status in (Status.OK, Status.NOT_APPLICABLE), report.reason
    assert list(report.findings) == list(NAMES)
    assert report.bit_depth == (16 if "16-bit" in kind else 8)
    if kind in ("jpeg", "png", "16-bit png"):
        reasons = {name: finding.reason for name, finding in report.findings.items()}
        assert not any(reasons.values()), reasons
    [read] = from_parquet(
        parquet([report_record(0, report)], report_schema(columns(NAMES)))
    ).to_pylist()
    assert read["sha256"] == hashlib.sha256(data).hexdigest()
    assert read["status"] == str(report.status)
    again = examine(scanner, data)
    for name, finding in report.findings.items():
        assert plain(again.findings[name]) == plain(finding)


def test_a_16_bit_file_of_8_bit_samples_is_judged_as_the_8_bit_file(scanner: Scanner) -> None:
    shallow, deep = (examine(scanner, ENCODED[kind]()) for kind in ("png", "16-bit png"))
    for name in NAMES:
        assert plain(deep.findings[name]) == plain(shallow.findings[name])


@each_detector
def test_without_models_it_works_or_says_what_to_set(name: str) -> None:
    report = examine(Scanner(ScanSettings(detectors=(name,), device="cpu")), ENCODED["jpeg"]())
    finding = report.findings[name]
    if finding.status is not Status.OK:
        assert finding.status is Status.NOT_APPLICABLE
        assert re.search(r"the setting [\w.]+ is not given", str(finding.reason))
        assert report.reason == f"{name}: {finding.reason}"


@each_detector
def test_an_image_over_the_memory_limit_is_reported_with_both_numbers(
    settings: ScanSettings, name: str
) -> None:
    change = {"detectors": (name,), "limits": Limits(memory_gib=1 / GIB)}
    report = examine(Scanner(settings.model_copy(update=change)), ENCODED["jpeg"]())
    assert report.status is Status.FAILED
    assert f"{WIDTH}x{HEIGHT} pixels need about" in str(report.findings[name].reason)
