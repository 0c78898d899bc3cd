"""Taking URIs apart and putting them together."""

from __future__ import annotations

from pathlib import Path

import pytest

from forensics.records import UserError
from forensics.storage import join, parent, resolve
from forensics.storage.uri import Location, parse


@pytest.mark.parametrize(
    ("uri", "location"),
    [
        ("/a/b.jpg", Location("file", "", "/a/b.jpg")),
        ("/a/../b", Location("file", "", "/b")),
        ("/a/100%20.jpg", Location("file", "", "/a/100%20.jpg")),
        ("file:///a/b%20c.jpg", Location("file", "", "/a/b c.jpg")),
        ("file://localhost/a", Location("file", "", "/a")),
        ("FILE:///a", Location("file", "", "/a")),
        ("s3://bucket/a/b%20c.jpg", Location("s3", "bucket", "a/b%20c.jpg")),
        ("s3://bucket", Location("s3", "bucket", "")),
        ("s3://bucket/who@home/x?y#z", Location("s3", "bucket", "who@home/x?y#z")),
    ],
)
def test_parse(uri: str, location: Location) -> None:
    assert parse(uri) == location


def test_relative_paths_start_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert parse("x/y.jpg").path == str(tmp_path / "x" / "y.jpg")


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("", "empty URI"),
        ("a\0b", "NUL"),
        ("s3://", "s3://bucket/key"),
        ("s3:///key", "s3://bucket/key"),
        ("file://host/a", "file:///folder/name"),
        ("gs://bucket/key", "cannot read gs:// URIs"),
        ("https://example.org/a.jpg", "cannot read https:// URIs"),
    ],
)
def test_parse_refuses(uri: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        parse(uri)


@pytest.mark.parametrize(
    "uri",
    [
        "s3://KEYID:hunter2secret@bucket/x",
        "https://user:hunter2secret@example.org/x",
        "https://b.s3.amazonaws.com/k?X-Amz-Credential=hunter2secret&X-Amz-Signature=hunter2secret",
        "s3://bucket/key?AWSAccessKeyId=hunter2secret&Signature=hunter2secret",
    ],
)
def test_credentials_are_refused_and_not_repeated(uri: str) -> None:
    with pytest.raises(UserError, match="carries credentials") as caught:
        parse(uri)
    assert "hunter2" not in str(caught.value)
    assert "KEYID" not in str(caught.value)


@pytest.mark.parametrize(
    ("parts", "joined"),
    [
        (("/a", "b", "c.jpg"), "/a/b/c.jpg"),
        (("/a/", "/b/"), "/a/b"),
        (("/", "b"), "/b"),
        (("file:///a%20b", "c"), "/a b/c"),
        (("s3://bucket", "b"), "s3://bucket/b"),
        (("s3://bucket/", "b"), "s3://bucket/b"),
        (("s3://bucket/a/", "b", "c%20d"), "s3://bucket/a/b/c%20d"),
    ],
)
def test_join(parts: tuple[str, ...], joined: str) -> None:
    assert join(*parts) == joined


@pytest.mark.parametrize(
    ("uri", "folder"),
    [
        ("/a/b.parquet", "/a"),
        ("/b", "/"),
        ("s3://bucket/a/b", "s3://bucket/a"),
        ("s3://bucket/b", "s3://bucket/"),
    ],
)
def test_parent(uri: str, folder: str) -> None:
    assert parent(uri) == folder
    assert join(parent(uri), uri.rsplit("/", 1)[1]) == uri


@pytest.mark.parametrize(
    ("folder", "uri", "absolute"),
    [
        ("/a/b", "c.jpg", "/a/b/c.jpg"),
        ("/a/b", "../c.jpg", "/a/c.jpg"),
        ("/a/b", "/c.jpg", "/c.jpg"),
        ("/a/b", "s3://bucket/c", "s3://bucket/c"),
        ("s3://bucket/a", "c/d.jpg", "s3://bucket/a/c/d.jpg"),
        ("s3://bucket/a", "../d.jpg", "s3://bucket/d.jpg"),
        ("s3://bucket/", "d.jpg", "s3://bucket/d.jpg"),
        ("s3://bucket/a", "/local.jpg", "/local.jpg"),
    ],
)
def test_resolve(folder: str, uri: str, absolute: str) -> None:
    assert resolve(folder, uri) == absolute


def test_resolve_stays_in_the_bucket() -> None:
    with pytest.raises(UserError, match="leaves the bucket"):
        resolve("s3://bucket/a", "../../other/x")
