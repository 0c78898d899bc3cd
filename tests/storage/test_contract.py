"""What every store promises, on local files and on a real S3 server."""

from __future__ import annotations

import io
import multiprocessing
import pickle
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from forensics import storage as shared_storage
from forensics.records import UserError
from forensics.storage import NotFound, Storage, StorageError, TooLarge, join
from tests.patience import PATIENCE_SECONDS

ODD_NAMES = ["plain.jpg", "with space.jpg", "ümlaut 図.png", "100%25 a+b&c=d#e?f.jpg", "a'b\"c.tif"]


@pytest.mark.parametrize("size", [0, 1, 1000, 3_000_000])
def test_read_returns_what_was_written(storage: Storage, folder: str, size: int) -> None:
    data = np.random.default_rng(size).bytes(size)
    uri = join(folder, "deep", "er", "object")
    storage.write(uri, data)
    assert storage.read(uri) == data
    assert storage.size(uri) == size
    assert storage.exists(uri)


def test_write_replaces(storage: Storage, folder: str) -> None:
    uri = join(folder, "x")
    storage.write(uri, b"a longer first content")
    storage.write(uri, b"second")
    assert storage.read(uri) == b"second"
    assert [entry.name for entry in storage.list(folder)] == ["x"]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names(storage: Storage, folder: str, name: str) -> None:
    storage.write(join(folder, name), name.encode())
    (entry,) = storage.list(folder)
    assert entry.name == name
    assert storage.read(entry.uri) == name.encode()


def test_absent_object(storage: Storage, folder: str) -> None:
    uri = join(folder, "nothing")
    assert not storage.exists(uri)
    assert list(storage.list(folder)) == []
    storage.delete(uri)
    for action in (storage.read, storage.size, storage.open):
        with pytest.raises(NotFound, match="nothing"):
            action(uri)


def test_a_folder_is_no_object(storage: Storage, folder: str) -> None:
    storage.write(join(folder, "sub", "x"), b"1")
    assert not storage.exists(join(folder, "sub"))
    with pytest.raises(NotFound):
        storage.read(join(folder, "sub"))


def test_delete(storage: Storage, folder: str) -> None:
    uri = join(folder, "x")
    storage.write(uri, b"1")
    storage.delete(uri)
    assert not storage.exists(uri)


def test_ranges(storage: Storage, folder: str) -> None:
    uri = join(folder, "digits")
    storage.write(uri, b"0123456789")
    assert storage.read_range(uri, 0, 4) == b"0123"
    assert storage.read_range(uri, 8, 100) == b"89"
    assert storage.read_range(uri, 10, 20) == b""
    assert storage.read_range(uri, 5, 5) == b""


def test_range_of_an_empty_object(storage: Storage, folder: str) -> None:
    storage.write(join(folder, "empty"), b"")
    assert storage.read_range(join(folder, "empty"), 0, 100) == b""


def test_too_large_is_refused(storage: Storage, folder: str) -> None:
    uri = join(folder, "x")
    storage.write(uri, b"12345")
    assert storage.read(uri, max_bytes=5) == b"12345"
    with pytest.raises(TooLarge, match=r"5 bytes, the limit is 4"):
        storage.read(uri, max_bytes=4)


def test_write_if_absent(storage: Storage, folder: str) -> None:
    uri = join(folder, "lease")
    assert storage.write_if_absent(uri, b"first")
    assert not storage.write_if_absent(uri, b"second")
    assert storage.read(uri) == b"first"
    assert [entry.name for entry in storage.list(folder)] == ["lease"]


def test_write_if_absent_has_one_winner(storage: Storage, folder: str) -> None:
    uri = join(folder, "lease")
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda i: storage.write_if_absent(uri, b"%d" % i), range(16)))
    assert sum(won) == 1
    assert storage.read(uri) == b"%d" % won.index(True)


def test_list_is_sorted_and_relative(storage: Storage, folder: str) -> None:
    names = ["a.txt", "a/b.txt", "a/c/d.txt", "ab.txt", "b.txt"]
    for name in reversed(names):
        storage.write(join(folder, name), name.encode())
    storage.write(join(folder + "-other", "not-listed"), b"")
    entries = list(storage.list(folder))
    assert sorted(entry.name for entry in entries) == names
    assert [entry.name for entry in storage.list(folder)] == [entry.name for entry in entries]
    for entry in entries:
        assert entry.uri == join(folder, entry.name)
        assert entry.size == len(entry.name)
        assert abs(datetime.now(UTC) - entry.modified) < timedelta(minutes=5)
    assert sorted(entry.name for entry in storage.list(join(folder, "a") + "/")) == [
        "b.txt",
        "c/d.txt",
    ]


def test_open_is_seekable(storage: Storage, folder: str) -> None:
    data = np.random.default_rng(0).bytes(2_500_000)
    uri = join(folder, "x")
    storage.write(uri, data)
    with storage.open(uri) as file:
        assert file.seek(0, io.SEEK_END) == len(data)
        assert file.read() == b""
        file.seek(2_000_000)
        assert file.read(100) == data[2_000_000:2_000_100]
        file.seek(-7, io.SEEK_END)
        assert file.read(100) == data[-7:]
        file.seek(0)
        assert file.read() == data


def test_open_serves_parquet_readers(storage: Storage, folder: str) -> None:
    table = pa.table({"n": np.arange(10_000)})
    sink = io.BytesIO()
    pq.write_table(table, sink, row_group_size=1000)
    uri = join(folder, "table.parquet")
    storage.write(uri, sink.getvalue())
    with storage.open(uri) as file:
        assert pq.ParquetFile(file).read_row_group(7).column(0).to_pylist() == list(
            range(7000, 8000)
        )


def test_write_file(
    storage: Storage, folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # in parts of the smallest size that S3 allows
    monkeypatch.setattr("forensics.storage.s3.PART_BYTES", 5 << 20)
    for size in (10, (11 << 20) + 3):
        data = np.random.default_rng(size).bytes(size)
        (tmp_path / "source").write_bytes(data)
        storage.write_file(join(folder, "copy"), str(tmp_path / "source"))
        assert storage.read(join(folder, "copy")) == data


def test_threads(storage: Storage, folder: str) -> None:
    def round_trip(i: int) -> bool:
        data = b"%d" % i * 1000
        storage.write(join(folder, str(i)), data)
        return storage.read(join(folder, str(i))) == data

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(round_trip, range(64)))
    assert len(list(storage.list(folder))) == 64


def _read(storage: Storage, uri: str) -> bytes:
    return storage.read(uri)


@pytest.mark.parametrize("method", ["spawn", "fork"])
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_child_process(storage: Storage, folder: str, method: str) -> None:
    uri = join(folder, "x")
    storage.write(uri, b"from the parent")
    with multiprocessing.get_context(method).Pool(1) as pool:
        answer = pool.apply_async(_read, (storage, uri))
        assert answer.get(timeout=PATIENCE_SECONDS) == b"from the parent"


def test_pickle_keeps_the_settings() -> None:
    assert pickle.loads(pickle.dumps(Storage(retry_seconds=3.0))).retry_seconds == 3.0  # noqa: S301


def test_module_functions_share_one_storage(folder: str) -> None:
    uri = join(folder, "x")
    shared_storage.write(uri, b"1")
    assert shared_storage.exists(uri)
    assert shared_storage.read(uri) == b"1"
    assert [entry.uri for entry in shared_storage.list(folder)] == [uri]


def test_errors_are_user_errors_and_travel_between_processes(storage: Storage, folder: str) -> None:
    with pytest.raises(NotFound) as caught:
        storage.read(join(folder, "nothing"))
    assert isinstance(caught.value, StorageError)
    assert isinstance(caught.value, UserError)
    copy = pickle.loads(pickle.dumps(caught.value))  # noqa: S301
    assert type(copy) is NotFound
    assert str(copy) == str(caught.value)
