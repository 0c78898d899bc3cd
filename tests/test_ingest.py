"""From a listing to a manifest: every image a row, cameras proposed, memory flat."""

from __future__ import annotations

import io
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from PIL import Image

from forensics import manifest, storage
from forensics.ingest import IngestCounts, ingest, propose_camera_id
from forensics.records import ManifestRow, UserError

BODY_SERIAL = 0xA431
EXIF_IFD = 0x8769


def photo(make: str = "", model: str = "", serial: str = "", kind: str = "JPEG") -> bytes:
    exif = Image.Exif()
    if make:
        exif[0x010F] = make
    if model:
        exif[0x0110] = model
    if serial:
        exif.get_ifd(EXIF_IFD)[BODY_SERIAL] = serial
    sink = io.BytesIO()
    Image.new("RGB", (16, 8)).save(sink, kind, exif=exif)
    return sink.getvalue()


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.s3)])
def archive(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A prefix with images of two cameras, and other things."""
    root = str(tmp_path / "archive")
    if request.param == "s3":
        request.getfixturevalue("s3_server")
        root = f"s3://evidence/{uuid.uuid4().hex}"
    files = {
        "README.txt": b"hello",
        "a/1.JPG": photo("NIKON CORPORATION", "NIKON D70", "2003456"),
        "a/2.jpeg": photo("NIKON CORPORATION", "NIKON D70", "2003456"),
        "b c/3.tif": photo("Apple", "iPhone 4", kind="TIFF"),
        "b c/4.png": photo(),
        "b c/broken.jpg": b"no image at all",
        "empty.webp": b"",
        "notes/list.CSV": b"1,2",
    }
    for name, data in files.items():
        storage.write(storage.join(root, name), data)
    return root


def test_every_image_becomes_a_row(archive: str, tmp_path: Path) -> None:
    target = storage.join(archive, "manifest.parquet")
    counts = ingest(archive, target)
    rows = list(manifest.read(target))
    assert sorted(row.image_id for row in rows) == [
        "a/1.JPG",
        "a/2.jpeg",
        "b c/3.tif",
        "b c/4.png",
        "b c/broken.jpg",
        "empty.webp",
    ]
    for row in rows:
        assert row.uri == storage.join(archive, row.image_id)
        assert row.size == len(storage.read(row.uri))
    cameras = {row.image_id: row.camera_id for row in rows}
    assert cameras["a/1.JPG"] == cameras["a/2.jpeg"] == "nikon-d70-2003456"
    assert cameras["b c/3.tif"] == "apple-iphone-4"
    assert cameras["b c/4.png"] is None
    assert counts.images == 6
    assert counts.image_bytes == sum(row.size or 0 for row in rows)
    assert counts.others == 2
    assert counts.other_suffixes == {".txt": 1, ".csv": 1}
    assert counts.cameras == {"nikon-d70-2003456": 2, "apple-iphone-4": 1}
    assert (counts.without_camera, counts.without_serial, counts.unreadable) == (3, 1, 2)
    # a second time the manifest itself is among the others, and the outcome is the same
    again = ingest(archive, str(tmp_path / "again.parquet"))
    assert again.others == 3
    assert list(manifest.read(str(tmp_path / "again.parquet"))) == rows


def test_camera_from_folder(archive: str, tmp_path: Path) -> None:
    target = str(tmp_path / "m.parquet")
    counts = ingest(archive, target, camera_from="folder")
    cameras = {row.image_id: row.camera_id for row in manifest.read(target)}
    assert cameras["a/1.JPG"] == "a"
    assert cameras["b c/4.png"] == "b-c"
    assert cameras["empty.webp"] is None
    assert counts.cameras == {"a": 2, "b-c": 3}
    assert counts.unreadable == 0  # no file was opened


def test_no_camera_and_other_suffixes(archive: str, tmp_path: Path) -> None:
    target = str(tmp_path / "m.parquet")
    counts = ingest(archive, target, camera_from="none", suffixes=[".JPG", ".txt"])
    assert {row.image_id for row in manifest.read(target)} == {
        "README.txt",
        "a/1.JPG",
        "b c/broken.jpg",
    }
    assert (counts.images, counts.others, counts.without_camera) == (3, 5, 3)


def test_a_prefix_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_bytes(b"")
    target = tmp_path / "m.parquet"
    with pytest.raises(UserError, match=r"no image among 1 objects.*\.jpg"):
        ingest(str(tmp_path), str(target))
    assert not target.exists()


def test_a_failing_store_leaves_no_manifest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(100):
        (tmp_path / f"{n}.jpg").write_bytes(photo())

    def fail(uri: str, start: int, stop: int) -> bytes:
        raise storage.Unavailable(f"{uri}: away")

    monkeypatch.setattr(storage, "read_range", fail)
    with pytest.raises(storage.Unavailable):
        ingest(str(tmp_path), str(tmp_path / "m.parquet"), threads=2)
    assert not (tmp_path / "m.parquet").exists()


def test_order_and_look_ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """10,000 rows come in the order of the listing, and few headers are read ahead of the rows."""
    listed = 0
    furthest = 0

    def listing(_: str) -> Iterator[storage.Entry]:
        nonlocal listed
        for listed in range(1, 10_001):
            name = f"{listed:05d}.jpg"
            yield storage.Entry(f"/x/{name}", name, listed, datetime.now(UTC))

    def progress(counts: IngestCounts) -> None:
        nonlocal furthest
        furthest = max(furthest, listed - counts.images)

    monkeypatch.setattr(storage, "list", listing)
    monkeypatch.setattr(storage, "read_range", lambda *_: photo("Sony", "A7", "1"))
    target = str(tmp_path / "m.parquet")
    counts = ingest("/x", target, threads=3, progress=progress)
    assert counts.images == 10_000
    assert [row.size for row in manifest.read(target)] == list(range(1, 10_001))
    assert furthest <= 12
    assert next(manifest.read(target)) == ManifestRow(
        "00001.jpg", "/x/00001.jpg", camera_id="sony-a7-1", size=1
    )


@pytest.mark.parametrize(
    ("exif", "camera_id"),
    [
        (
            {"make": "NIKON CORPORATION", "model": "NIKON D70", "serial": "2003456"},
            "nikon-d70-2003456",
        ),
        ({"make": "Canon", "model": "Canon EOS 5D Mark II"}, "canon-eos-5d-mark-ii"),
        ({"make": "Eastman Kodak Company", "model": "KODAK DC210"}, "kodak-dc210"),
        ({"make": "OLYMPUS IMAGING CORP.", "model": "E-M10"}, "olympus-e-m10"),
        ({"make": "LG Electronics", "model": "LG-D605"}, "lg-d605"),
        ({"make": "samsung", "model": "SM-T210", "serial": "Z 1/2"}, "samsung-sm-t210-z-1-2"),
        ({"model": "D70"}, "d70"),
        ({"make": "Nikon", "serial": "5"}, None),
        ({"make": "", "model": " "}, None),
        ({}, None),
        ({"make": "../..", "model": "../../etc/pässwd"}, "etc-passwd"),
        ({"model": "x" * 300}, "x" * 100),
    ],
)
def test_proposed_camera_id(exif: dict[str, str], camera_id: str | None) -> None:
    assert propose_camera_id(exif) == camera_id


def test_real_cameras(shared: Path, tmp_path: Path) -> None:
    cameras = shared / "data" / "cameras"
    if not cameras.is_dir():
        pytest.skip("needs the real photographs in ../shared/data, which are absent")
    target = str(tmp_path / "m.parquet")
    counts = ingest(str(cameras), target)
    assert counts.unreadable == 0
    for row in manifest.read(target):
        if row.camera_id is not None:
            device = row.image_id.split("/")[0].lower().replace("_", "-")
            brand = {"vision": ("samsung", "apple")}.get(device.split("-")[0], device.split("-")[0])
            assert row.camera_id.startswith(brand), row
