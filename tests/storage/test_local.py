"""Local files: half-written objects stay out of sight, odd file system contents do no harm."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from forensics.storage import AccessDenied, NotFound, Storage, StorageError, local


def test_failed_write_leaves_the_old_object_and_no_litter(
    storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "x"
    storage.write(str(target), b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match=r"/x: No space left on device\. Make room"):
        storage.write(str(target), b"new")
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_listing_leaves_out_writes_cut_short(storage: Storage, tmp_path: Path) -> None:
    (tmp_path / (local.TEMPORARY + "0123")).write_bytes(b"half")
    (tmp_path / "x").write_bytes(b"whole")
    assert [entry.name for entry in storage.list(str(tmp_path))] == ["x"]


def test_write_if_absent_without_hard_links(
    storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", unsupported)
    uri = str(tmp_path / "lease")
    assert storage.write_if_absent(uri, b"first")
    assert not storage.write_if_absent(uri, b"second")
    assert (tmp_path / "lease").read_bytes() == b"first"


def test_named_pipe_and_device_are_refused_at_once(storage: Storage, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for uri in (str(tmp_path / "pipe"), "/dev/zero"):
        with pytest.raises(NotFound, match="device, pipe or socket"):
            storage.read(uri)
        with pytest.raises(NotFound):
            storage.size(uri)
    assert list(storage.list(str(tmp_path))) == []


def test_links(storage: Storage, tmp_path: Path) -> None:
    folder = tmp_path / "archive"
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.jpg").write_bytes(b"1")
    folder.mkdir()
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    (folder / "circle").symlink_to(folder)
    (folder / "dangling").symlink_to(tmp_path / "nothing")
    assert [entry.name for entry in storage.list(str(folder))] == ["linked/a.jpg"]


def test_names_that_are_no_utf8(storage: Storage, tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9.jpg")).write_bytes(b"1")
    (entry,) = storage.list(str(tmp_path))
    assert entry.name == "caf%E9.jpg"
    assert entry.uri.startswith("file:///")
    entry.uri.encode()  # fits into a Parquet file
    assert storage.read(entry.uri) == b"1"


def test_permission_errors_say_what_to_check(
    storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(AccessDenied, match=r"cannot read .*/x: Permission denied.*owner and mode"):
        storage.read(str(tmp_path / "x"))


def test_new_files_follow_the_umask(storage: Storage, tmp_path: Path) -> None:
    storage.write(str(tmp_path / "x"), b"1")
    (tmp_path / "y").write_bytes(b"1")
    assert (tmp_path / "x").stat().st_mode == (tmp_path / "y").stat().st_mode


def test_name_too_long(storage: Storage, tmp_path: Path) -> None:
    assert not storage.exists(str(tmp_path / ("n" * 300)))
