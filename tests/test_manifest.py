"""Manifests: what is accepted, what is refused and how, what a run's frozen copy holds."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from forensics import manifest, storage
from forensics.manifest import MANIFEST_SCHEMA, Freezer, ShardReader, digest, freeze, write_manifest
from forensics.records import ManifestRow, UserError


def table(rows: int, start: int = 0, **columns: Any) -> pa.Table:
    numbers = range(start, start + rows)
    given = {
        "image_id": [f"id-{n}" for n in numbers],
        "uri": [f"/archive/{n}.jpg" for n in numbers],
    }
    return pa.table({k: v for k, v in (given | columns).items() if v is not None})


def write(path: Path, content: pa.Table, **options: Any) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(content, path, **options)
    return str(path)


def test_round_trip_of_every_column(tmp_path: Path) -> None:
    rows = [
        ManifestRow("a", "/x/a.jpg", "cam", "00" * 32, 123, "train", "forged", "/m/a.png", "web"),
        ManifestRow("b", "s3://bucket/b.jpg"),
    ]
    uri = str(tmp_path / "m.parquet")
    write_manifest(rows, uri)
    assert list(manifest.read(uri)) == rows
    assert pq.read_schema(uri).equals(MANIFEST_SCHEMA)


def test_accepted_types(tmp_path: Path) -> None:
    content = table(
        3,
        image_id=pa.array(["a", "b", "c"], pa.large_string()),
        uri=pa.array(["/a", "/b", "/c"], pa.string_view()),
        camera_id=pa.array(["x", None, "x"]).dictionary_encode(),
        size=pa.array([1, 2, 3], pa.uint32()),
        label=pa.nulls(3),
        split=pa.array(["s", "s", "t"], pa.large_string()).dictionary_encode(),
    )
    rows = list(manifest.read(write(tmp_path / "m.parquet", content)))
    assert [row.camera_id for row in rows] == ["x", None, "x"]
    assert [row.size for row in rows] == [1, 2, 3]
    assert [row.label for row in rows] == [None] * 3
    assert [row.split for row in rows] == ["s", "s", "t"]


def test_sizes_that_pandas_made_floats(tmp_path: Path) -> None:
    uri = write(tmp_path / "m.parquet", table(2, size=pa.array([7.0, None])))
    assert [row.size for row in manifest.read(uri)] == [7, None]


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"uri": None, "url": ["/a", "/b"]}, r"no column 'uri' among image_id, url\. .*'url'"),
        ({"image_id": None, "imageid": ["a", "b"]}, r"no column 'image_id'.*'imageid'"),
        ({"image_id": [1, 2]}, r"column 'image_id' has the type int64, it must hold text"),
        ({"size": ["1", "2"]}, r"column 'size' has the type string, it must hold integers"),
        ({"size": [1.5, 2.0]}, r"column 'size'"),
        ({"size": [1, -2]}, r"row 1 \(counted from 0\) has a negative size"),
        ({"image_id": ["a", None]}, r"row 1 \(counted from 0\) has an empty image_id"),
        ({"uri": [" ", "b"]}, r"row 0 \(counted from 0\) has an empty uri"),
        ({"image_id": ["same", "same"]}, r"1 rows repeat an earlier one: 'same'\."),
        ({"label": pa.array([b"1", b"2"])}, r"column 'label' has the type binary"),
    ],
)
def test_refusals(tmp_path: Path, columns: dict[str, Any], says: str) -> None:
    uri = write(tmp_path / "m.parquet", table(2, **columns))
    with pytest.raises(UserError, match=says) as caught:
        freeze(uri, str(tmp_path / "frozen.parquet"))
    assert str(caught.value).startswith(uri)
    assert not (tmp_path / "frozen.parquet").exists()


def test_row_number_counts_over_batches_of_the_file(tmp_path: Path) -> None:
    ids = [f"{n}" for n in range(20_000)]
    ids[17_001] = ""
    uri = write(tmp_path / "m.parquet", table(20_000, image_id=ids), row_group_size=3000)
    with pytest.raises(UserError, match=r"row 17001 "):
        list(manifest.batches(uri))


def test_text_that_is_no_utf8_is_refused(tmp_path: Path) -> None:
    broken = pa.array([b"ok", b"\xff\xfe"]).view(pa.string())
    uri = write(tmp_path / "m.parquet", table(2, source=broken))
    with pytest.raises(UserError, match="column 'source'"):
        list(manifest.read(uri))


@pytest.mark.parametrize("column", ["uri", "mask_uri"])
def test_credentials_in_a_uri_are_refused_and_not_repeated(tmp_path: Path, column: str) -> None:
    uris = ["/a", "s3://KEY:hunter2@bucket/x"]
    uri = write(tmp_path / "m.parquet", table(2, **{column: uris}))
    with pytest.raises(UserError, match=r"row 1 .*credentials") as caught:
        list(manifest.read(uri))
    assert "hunter2" not in str(caught.value)


def test_absent_and_not_parquet(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such manifest"):
        list(manifest.read(str(tmp_path / "nothing.parquet")))
    (tmp_path / "x.parquet").write_bytes(b"image_id,uri\n")
    with pytest.raises(UserError, match=r"x\.parquet: is no readable Parquet file"):
        list(manifest.read(str(tmp_path / "x.parquet")))


def test_unknown_columns_are_named(tmp_path: Path) -> None:
    uri = write(tmp_path / "m.parquet", table(2, weather=["a", "b"], camera_id=["c", "c"]))
    assert freeze(uri, str(tmp_path / "f.parquet")).ignored == ("weather",)


def test_relative_uris_start_at_the_manifests_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uris = ["a.jpg", "../b.jpg", "/c.jpg", "s3://bucket/d.jpg"]
    masks = ["m/a.png", None, None, "m/d.png"]
    write(tmp_path / "in" / "m.parquet", table(4, uri=uris, mask_uri=masks))
    monkeypatch.chdir(tmp_path)
    for uri in ("in/m.parquet", "in", str(tmp_path / "in" / "m.parquet")):
        rows = list(manifest.read(uri))
        assert [row.uri for row in rows] == [
            f"{tmp_path}/in/a.jpg",
            f"{tmp_path}/b.jpg",
            "/c.jpg",
            "s3://bucket/d.jpg",
        ]
        assert [row.mask_uri for row in rows] == [
            f"{tmp_path}/in/m/a.png",
            None,
            None,
            f"{tmp_path}/in/m/d.png",
        ]


def test_folder_of_files_in_name_order(tmp_path: Path) -> None:
    write(tmp_path / "m" / "part-1.parquet", table(3, start=3))
    write(tmp_path / "m" / "part-0.parquet", table(3))
    write(tmp_path / "m" / "_metadata.parquet", table(1))
    (tmp_path / "m" / "_SUCCESS").write_bytes(b"")
    rows = manifest.read(str(tmp_path / "m"))
    assert [row.image_id for row in rows] == [f"id-{n}" for n in range(6)]


def test_frozen_file_reads_back_by_shard(tmp_path: Path) -> None:
    rows = 3 * 64 * 3 + 2 * 3 + 1  # three full row groups, two shards and one row
    uri = write(tmp_path / "m.parquet", table(rows), row_group_size=100)
    target = str(tmp_path / "run" / "frozen.parquet")
    frozen = freeze(uri, target, shard_rows=3)
    assert (frozen.rows, frozen.shards) == (rows, 195)
    assert pq.read_schema(target).equals(MANIFEST_SCHEMA)
    meta = pq.read_metadata(target)
    assert [meta.row_group(i).num_rows for i in range(meta.num_row_groups)] == [192, 192, 192, 7]
    reader = ShardReader(target, 3)
    assert (reader.rows, reader.shards) == (rows, 195)
    expected = list(manifest.read(uri))
    for index in (0, 194, 63, 64, 1, 193, 192):
        assert reader.read(index) == expected[index * 3 : index * 3 + 3]
    for wrong in (-1, 195):
        with pytest.raises(ValueError, match="no shard"):
            reader.read(wrong)


def test_shard_reader_refuses_another_layout(tmp_path: Path) -> None:
    uri = write(tmp_path / "m.parquet", table(500))
    target = str(tmp_path / "frozen.parquet")
    freeze(uri, target, shard_rows=3)
    with pytest.raises(UserError, match="not frozen in shards of 4 rows"):
        ShardReader(target, 4)
    with pytest.raises(UserError, match="not frozen"):
        ShardReader(uri, 64)


def test_digest_follows_the_rows_and_not_the_files(tmp_path: Path) -> None:
    content = table(1000, size=list(range(1000)), label=[None, "", "a", "b"] * 250)
    target = str(tmp_path / "frozen.parquet")
    one = freeze(write(tmp_path / "one.parquet", content), target).digest
    write(tmp_path / "many" / "0.parquet", content.slice(0, 1), compression="gzip")
    write(tmp_path / "many" / "1.parquet", content.slice(1, 600), row_group_size=7)
    write(tmp_path / "many" / "2.parquet", content.slice(601), use_dictionary=False)
    assert freeze(str(tmp_path / "many"), target, shard_rows=5).digest == one
    assert freeze(target, str(tmp_path / "again.parquet")).digest == one  # frozen is normal
    reordered = content.take(np.r_[1, 0, 2:1000])
    assert freeze(write(tmp_path / "r.parquet", reordered), target).digest != one
    # null and empty differ, and so do texts that are one when put together
    for label in ([None, None, "a", "b"], [None, "a", "", "b"]):
        changed = content.set_column(3, "label", pa.array(label * 250))
        assert freeze(write(tmp_path / "c.parquet", changed), target).digest != one


def test_digest_is_the_documented_one(tmp_path: Path) -> None:
    rows = [ManifestRow("a", "/x", size=5, label="é"), ManifestRow("bc", "/y")]
    write_manifest(rows, str(tmp_path / "m.parquet"))
    expected = hashlib.sha256()
    for name in MANIFEST_SCHEMA.names:
        values = [getattr(row, name) for row in rows]
        if name == "size":
            lengths, content = b"", np.array([5, -1], "<i8").tobytes()
        else:
            texts = [None if value is None else value.encode() for value in values]
            lengths = np.array([-1 if t is None else len(t) for t in texts], "<i4").tobytes()
            content = b"".join(t or b"" for t in texts)
        expected.update(name.encode() + b"\0")
        expected.update(hashlib.sha256(lengths).digest() + hashlib.sha256(content).digest())
    frozen = freeze(str(tmp_path / "m.parquet"), str(tmp_path / "f.parquet"))
    assert frozen.digest == expected.hexdigest()


def test_limit(tmp_path: Path) -> None:
    ids = [f"{n}" for n in range(20_000)]
    ids[19_999] = "0"  # a duplicate beyond the limit is nobody's business
    uri = write(tmp_path / "m.parquet", table(20_000, image_id=ids))
    target = str(tmp_path / "f.parquet")
    assert freeze(uri, target, limit=10_000).rows == 10_000
    assert ShardReader(target, 64).read(156)[-1].image_id == "9999"
    assert freeze(uri, target, limit=0).rows == 0
    with pytest.raises(UserError, match="1 rows repeat an earlier one: '0'"):
        freeze(uri, target, limit=20_000)


def test_empty_manifest(tmp_path: Path) -> None:
    content = table(0, image_id=pa.array([], pa.string()), uri=pa.array([], pa.string()))
    frozen = freeze(write(tmp_path / "m.parquet", content), str(tmp_path / "f.parquet"))
    assert (frozen.rows, frozen.shards) == (0, 0)
    assert ShardReader(str(tmp_path / "f.parquet"), 64).shards == 0


def test_freezer_stores_nothing_before_commit(tmp_path: Path) -> None:
    uri = write(tmp_path / "m.parquet", table(10))
    target = tmp_path / "run" / "f.parquet"
    with Freezer(uri) as freezer:
        assert freezer.frozen.rows == 10
        assert not target.exists()
        freezer.commit(str(target))
    assert freeze(uri, str(tmp_path / "other.parquet")) == freezer.frozen
    assert target.read_bytes() == (tmp_path / "other.parquet").read_bytes()


def test_many_duplicates_are_counted_and_some_named(tmp_path: Path) -> None:
    ids = [f"{n % 4000}" for n in range(12_000)]
    uri = write(tmp_path / "m.parquet", table(12_000, image_id=ids))
    with pytest.raises(UserError, match=r"8000 rows repeat an earlier one: ('\d+', ){5}…\. Rename"):
        freeze(uri, str(tmp_path / "f.parquet"))


def test_equal_hashes_of_different_names_are_no_duplicates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def weak(ids: pa.Array) -> bytes:
        return np.array([len(name) for name in ids.to_pylist()], np.uint64).tobytes()

    monkeypatch.setattr(digest, "hash_ids", weak)
    monkeypatch.setattr("forensics.manifest.frozen.hash_ids", weak)
    uri = write(tmp_path / "m.parquet", table(30))
    assert freeze(uri, str(tmp_path / "f.parquet")).rows == 30
    uri = write(tmp_path / "m.parquet", table(3, image_id=["a", "b", "a"]))
    with pytest.raises(UserError, match="'a'"):
        freeze(uri, str(tmp_path / "f.parquet"))


_PEAK = """
import sys
from pathlib import Path
from forensics.manifest import freeze
freeze(sys.argv[1], sys.argv[2])
# getrusage would give the peak of the process that started this one, if that is higher
print(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
"""


def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    peaks = []
    for rows in (100_000, 700_000):
        ids = [f"{n:012d}" for n in range(rows)]
        uris = [f"s3://a-bucket/{'a-long-folder/' * 24}{name}.jpg" for name in ids]
        content = pa.table({"image_id": ids, "uri": uris})
        uri = write(tmp_path / "m.parquet", content, row_group_size=rows, compression="none")
        run = [sys.executable, "-c", _PEAK, uri, str(tmp_path / "f.parquet")]
        done = subprocess.run(run, capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout) << 10)
    # what allocators keep back differs from run to run by some 30 MB
    assert peaks[1] - peaks[0] < 100e6 < content.nbytes / 2


@pytest.mark.s3
@pytest.mark.usefixtures("s3_server")
def test_on_s3() -> None:
    content = table(300, uri=[f"images/{n}.jpg" for n in range(300)])
    sink = pa.BufferOutputStream()
    pq.write_table(content, sink)
    uri = "s3://evidence/manifests/m.parquet"
    storage.write(uri, sink.getvalue().to_pybytes())
    frozen = freeze(uri, "s3://evidence/run/manifest.parquet", shard_rows=4, limit=290)
    assert (frozen.rows, frozen.shards) == (290, 73)
    rows = ShardReader("s3://evidence/run/manifest.parquet", 4).read(72)
    assert [row.uri for row in rows] == [
        "s3://evidence/manifests/images/288.jpg",
        "s3://evidence/manifests/images/289.jpg",
    ]
