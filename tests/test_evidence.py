"""What a manifest row names is fetched whole, hashed, and not taken for something else."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from forensics.evidence import changed, fetch, open_image
from forensics.records import ManifestRow, Unreadable, UserError
from forensics.storage import NotFound
from tests.images import noise_jpeg


def row_of(path: Path, data: bytes, sha256: str | None = None) -> ManifestRow:
    path.write_bytes(data)
    return ManifestRow("a", str(path), sha256=sha256)


def test_the_hash_is_that_of_the_bytes(tmp_path: Path) -> None:
    data = noise_jpeg(1)
    found = fetch(row_of(tmp_path / "a.jpg", data))
    assert found.data == data
    assert found.sha256 == hashlib.sha256(data).hexdigest()


def test_a_file_is_held_against_the_manifest_s_hash(tmp_path: Path) -> None:
    data = noise_jpeg(1, height=20, width=28)
    right = hashlib.sha256(data).hexdigest()
    for sha256 in (None, right, right.upper()):
        row = row_of(tmp_path / "a.jpg", data, sha256)
        assert changed(row, fetch(row)) is None
        evidence, image = open_image(row, 1.0)
        assert (evidence.sha256, image.height, image.width) == (right, 20, 28)
    other = row_of(tmp_path / "a.jpg", noise_jpeg(2), right)
    with pytest.raises(UserError, match=f"the file has changed: .* {right}"):
        open_image(other, 1.0)


def test_what_is_no_image_or_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(Unreadable):
        open_image(row_of(tmp_path / "a.jpg", b"no image"), 1.0)
    with pytest.raises(NotFound, match=r"absent\.jpg"):
        open_image(ManifestRow("a", str(tmp_path / "absent.jpg")), 1.0)
