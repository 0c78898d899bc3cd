"""The doctor before a scan: what it says, and that the scan then takes and finds that."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest

from forensics.calibration.build import calibrate, collect
from forensics.config import load
from forensics.limits import GIB
from forensics.manifest import write_manifest
from forensics.records import ManifestRow, UserError
from jobs.doctor import DoctorJob, doctor
from jobs.scan import ScanJob, scan
from tests.calibration.runs import pristine, scored_run
from tests.images import write_images
from tests.jobs.runs import make_archive, scan_arguments, statuses
from tests.jobs.trainings import printed

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_local")]


def arguments(manifest: str, output: Path, **changes: str) -> list[str]:
    tracking = {"tracking.uri": f"sqlite:///{Path(manifest).parent / 'mlflow.db'}"}
    return scan_arguments(manifest, output, **tracking, **changes)


def said(manifest: str, output: Path, code: int = 0, **changes: str) -> dict[str, list[str]]:
    """The printed lines by their first words."""
    job = load(DoctorJob, None, arguments(manifest, output, **changes))
    lines: dict[str, list[str]] = {}
    for line in printed(lambda: doctor(job), code).splitlines():
        first, _, rest = line.strip().partition(" ")
        lines.setdefault(first, []).append(rest.strip())
    return lines


def number(text: str) -> float:
    """The first number of a line, in its unit."""
    value, unit = text.split()[:2]
    return float(value.replace(",", "")) * {"kB": 1e3, "MB": 1e6}.get(unit, 1)


@contextmanager
def peak_of_workers() -> Iterator[list[int]]:
    """The most that each process which examines images for this test has held so far, in bytes."""
    seen: list[int] = []
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(0.05):
            for process in psutil.Process().children(recursive=True):
                with suppress(psutil.Error, OSError, IndexError):
                    if "forensics.worker" in process.cmdline():
                        text = Path(f"/proc/{process.pid}/status").read_text()
                        seen.append(int(text.partition("VmHWM:")[2].split()[0]) * 1024)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join()


def test_the_bill_is_what_the_scan_then_takes(tmp_path: Path) -> None:
    ids = [f"{'abstain' if n % 3 == 0 else 'image'}{n}" for n in range(60)]
    manifest, output = make_archive(tmp_path, ids), tmp_path / "run"
    lines = said(manifest, output, sample="40")
    assert "BAD" not in lines
    assert lines["ready:"] == ["jobs.scan can start"]
    assert not list(output.iterdir())  # nothing of it is kept
    with peak_of_workers() as peak:
        assert scan(load(ScanJob, None, arguments(manifest, output))) == 0
    found = list(statuses(output).values())
    assert number(lines["not_applicable"][0]) == pytest.approx(20, rel=0.4)
    assert found.count("not_applicable") == 20
    files = [*output.glob("report/*.parquet"), *output.glob("maps/*.parquet")]
    assert number(lines["written"][0]) == pytest.approx(
        sum(file.stat().st_size for file in files), rel=0.25
    )
    sizes = pq.read_table(output / "manifest.parquet")["size"].to_pylist()
    assert number(lines["read"][0]) == pytest.approx(sum(sizes), rel=0.01)
    assert "GiB per worker" in lines["memory"][0]
    assert number(lines["memory"][0]) == pytest.approx(max(peak) / GIB, rel=0.25)


def test_every_fault_is_found_before_anything_starts(tmp_path: Path) -> None:
    rows = write_images(tmp_path / "images", ["a", "b"])
    manifest = str(tmp_path / "m.parquet")
    write_manifest(rows, manifest)
    (tmp_path / "taken").write_text("a file")
    lines = said(
        manifest,
        tmp_path / "taken" / "run",
        code=1,
        camera_models=str(tmp_path / "nothing"),
        detectors="trufor",
        **{"trufor.checkpoint": str(tmp_path / "gone.pth.tar")},
    )
    bad = {line.split()[0] for line in lines["BAD"]}
    assert bad >= {"output", "cameras", "detectors"}
    assert "bill" not in lines
    assert lines["not"] == ["ready: see the lines marked BAD"]


def test_where_the_scan_refuses_so_does_the_doctor(tmp_path: Path) -> None:
    """The run in the output and the calibration are of other settings."""
    manifest, output = make_archive(tmp_path, ["a", "b"]), tmp_path / "run"
    begun = load(ScanJob, None, arguments(manifest, output))
    assert scan(begun) == 0
    pristine_run = scored_run(tmp_path / "pristine", pristine([0.1, 0.2, 0.3]))
    text = calibrate(pristine_run, collect(pristine_run), 0.5).model_dump_json()
    other = tmp_path / "calibration.json"
    other.write_text(text)
    for changes, words in (
        ({"limits.timeout_seconds": "7"}, "settings.limits.timeout_seconds: 900.0 there, 7.0 now"),
        (
            {"calibration": str(other)},
            "detectors.saboteur: 'weights-1' then",
        ),
    ):
        output_of_both = capture(manifest, output, changes)
        assert words in output_of_both
        assert "not ready" in output_of_both
        with pytest.raises(UserError) as refused:
            scan(load(ScanJob, None, arguments(manifest, output, **changes)))
        assert words in str(refused.value)
    lines = said(manifest, output)
    assert any("(complete, 1 of 1 shards done)" in line for line in lines["ok"])


def capture(manifest: str, output: Path, changes: dict[str, str]) -> str:
    job = load(DoctorJob, None, arguments(manifest, output, **changes))
    return printed(lambda: doctor(job), 1)


def test_a_manifest_with_a_fault_is_said(tmp_path: Path) -> None:
    write_manifest([ManifestRow("a", "/a"), ManifestRow("a", "/b")], str(tmp_path / "m.parquet"))
    lines = said(str(tmp_path / "m.parquet"), tmp_path / "run", code=1)
    assert any(line.startswith("manifest") for line in lines["BAD"])


def test_a_pool_that_does_not_fit_is_said(tmp_path: Path) -> None:
    manifest = make_archive(tmp_path, ["a", "b", "c"])
    lines = said(manifest, tmp_path / "run", code=1, **{"pool.workers": "64"})
    [line] = lines["BAD"]
    assert line.startswith("pool")
    assert "64 workers need 65 CPUs" in line


def test_images_that_cannot_be_read_are_part_of_the_bill(tmp_path: Path) -> None:
    rows = write_images(tmp_path / "images", ["a", "b", "c", "d"])
    Path(rows[0].uri).unlink()
    write_manifest(rows, str(tmp_path / "m.parquet"))
    lines = said(str(tmp_path / "m.parquet"), tmp_path / "run")
    assert number(lines["unreadable"][0]) == 1


@pytest.mark.parametrize("count", [1, 3])
def test_a_few_images_on_more_workers_have_a_bill_too(tmp_path: Path, count: int) -> None:
    manifest = make_archive(tmp_path, [f"image{n}" for n in range(count)])
    lines = said(manifest, tmp_path / "run", **{"pool.workers": "3"})
    assert any(line.startswith(f"{count} images (") for line in lines["ok"])
    assert lines["time"][0].endswith("after the start of the job")
