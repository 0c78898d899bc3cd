"""Ray Train's file system: what it asks of one, on local folders and on S3."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
from pyarrow import fs

from forensics import storage
from jobs.training.journal import Journal
from jobs.training.storage import clear, file_system


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.s3)])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "local":
        return str(tmp_path / "work")
    return str(request.getfixturevalue("s3_server").uri(f"files/{tmp_path.name}"))


@pytest.fixture
def files(root: str) -> Any:
    """As a worker gets it."""
    return pickle.loads(pickle.dumps(file_system(root)))  # noqa: S301


def write(files: Any, path: str, data: bytes) -> None:
    with files.open_output_stream(path) as stream:
        stream.write(data)


def test_files_and_folders(files: Any, root: str) -> None:
    assert files.get_file_info("runs/a").type == fs.FileType.NotFound
    files.create_dir("runs/a")
    write(files, "runs/a/one.json", b"12")
    write(files, "runs/a/deep/er/two", b"")
    assert storage.read(storage.join(root, "runs/a/one.json")) == b"12"
    assert files.get_file_info("runs/a").type == fs.FileType.Directory
    info = files.get_file_info("runs/a/one.json")
    assert (info.type, info.size) == (fs.FileType.File, 2)
    assert files.open_input_stream("runs/a/one.json").read() == b"12"
    with pytest.raises(FileNotFoundError):
        files.open_input_stream("runs/a/none")

    flat = files.get_file_info(fs.FileSelector("runs/a"))
    assert {(i.path, i.type) for i in flat} == {
        ("runs/a/one.json", fs.FileType.File),
        ("runs/a/deep", fs.FileType.Directory),
    }
    below = files.get_file_info(fs.FileSelector("runs", recursive=True))
    assert {i.path for i in below} == {
        f"runs/a{tail}" for tail in ("", "/one.json", "/deep", "/deep/er", "/deep/er/two")
    }
    assert files.get_file_info(fs.FileSelector("none", allow_not_found=True)) == []
    with pytest.raises(FileNotFoundError):
        files.get_file_info(fs.FileSelector("none"))

    files.delete_file("runs/a/one.json")
    files.delete_dir("runs/a/deep")
    assert files.get_file_info("runs/a").type == fs.FileType.NotFound


def test_folders_are_copied_in_and_out(files: Any, tmp_path: Path) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    (source / "part").mkdir(parents=True)
    (source / "part" / "state.pt").write_bytes(bytes(100_000))
    (source / "empty").touch()
    target.mkdir()
    fs.copy_files(str(source), "checkpoint", destination_filesystem=files)
    fs.copy_files("checkpoint", str(target), source_filesystem=files)
    assert (target / "part" / "state.pt").read_bytes() == bytes(100_000)
    assert (target / "empty").read_bytes() == b""


def test_a_file_is_the_old_one_until_it_is_whole(files: Any, root: str) -> None:
    write(files, "snapshot", b"old")
    stream = files.open_output_stream("snapshot")
    stream.write(b"ne")
    assert storage.read(storage.join(root, "snapshot")) == b"old"
    stream.write(b"w")
    stream.close()
    assert storage.read(storage.join(root, "snapshot")) == b"new"


def test_clearing_leaves_nothing(root: str) -> None:
    for name in ("a/b/c", "a/d"):
        storage.write(storage.join(root, name), b"")
    clear(storage.join(root, "a"))
    assert list(storage.list(root)) == []
    assert "://" in root or not Path(root).exists()
    clear(storage.join(root, "a"))


def test_a_journal_is_one_run_until_it_is_closed(root: str) -> None:
    journal = Journal.open(root, "d" * 64)
    again, other = Journal.open(root, "d" * 64), Journal.open(root, "e" * 64)
    assert again == journal
    assert other.key != journal.key
    assert journal.result("one") is None
    storage.write(storage.join(journal.folder, "runs/one/state"), b"")
    storage.write(storage.join(journal.folder, "runs/two/state"), b"")
    journal.end("one", {"name": "one"})
    assert again.result("one") == {"name": "one"}
    assert other.result("one") is None
    assert not storage.exists(storage.join(journal.folder, "runs/one/state"))
    assert storage.exists(storage.join(journal.folder, "runs/two/state"))
    journal.close()
    other.close()
    assert list(storage.list(root)) == []
    assert Journal.open(root, "d" * 64).key != journal.key
