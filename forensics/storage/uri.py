"""URIs of stored objects: plain local paths, ``file:///path`` and ``s3://bucket/key``.

An S3 key is taken as it stands (no percent-decoding); ``file://`` URIs are percent-decoded. Local
URIs come back as plain absolute paths, or as ``file://`` where the name is no valid UTF-8.
"""

from __future__ import annotations

import os
import posixpath
import re
from pathlib import Path
from typing import Literal, NamedTuple
from urllib.parse import unquote_to_bytes

from forensics.records import UserError
from forensics.redact import carries_credentials, redact

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


class Location(NamedTuple):
    """Where an object is: a local path, or a bucket and key."""

    scheme: Literal["file", "s3"]
    bucket: str  # empty for local files
    path: str  # absolute local path, or the key


def parse(uri: str) -> Location:
    """Take a URI apart; UserError for an unknown scheme, no bucket, or credentials inside."""
    if not uri or "\0" in uri:
        raise UserError("empty URI, or one with a NUL character; give a path or s3://bucket/key")
    match = _SCHEME.match(uri)
    if match is None:
        return Location("file", "", _absolute(uri))
    if carries_credentials(uri):
        raise UserError(
            f"a {match[1].lower()}:// URI carries credentials (not repeated here). Take them out "
            "and set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment."
        )
    scheme, rest = match[1].lower(), uri[match.end() :]
    if scheme == "file":
        host, slash, path = rest.partition("/")
        if host not in ("", "localhost") or not slash:
            raise UserError(f"{uri}: a file URI looks like file:///folder/name")
        return Location("file", "", _absolute(os.fsdecode(unquote_to_bytes("/" + path))))
    if scheme == "s3":
        bucket, _, key = rest.partition("/")
        if not bucket:
            raise UserError(f"{uri}: an S3 URI looks like s3://bucket/key")
        return Location("s3", bucket, key)
    raise UserError(
        f"{redact(uri)}: cannot read {scheme}:// URIs; use a local path, file:// or s3://bucket/key"
    )


def _absolute(path: str) -> str:
    return os.path.abspath(path)  # noqa: PTH100 - resolve() would replace links by their targets


def of_path(path: str) -> str:
    """The URI of an absolute local path."""
    try:
        path.encode()
    except UnicodeEncodeError:  # bytes that are no UTF-8 cannot go into a Parquet file as they are
        return Path(path).as_uri()
    return path


def unparse(location: Location) -> str:
    """The URI of a location."""
    if location.scheme == "file":
        return of_path(location.path)
    return f"s3://{location.bucket}/{location.path}"


def join(uri: str, *parts: str) -> str:
    """``uri`` as a folder, followed by ``parts``; the result is absolute."""
    scheme, bucket, path = parse(uri)
    tail = "/".join(part.strip("/") for part in parts)
    head = path.rstrip("/")
    return unparse(Location(scheme, bucket, f"{head}/{tail}" if head or scheme == "file" else tail))


def parent(uri: str) -> str:
    """The folder that holds ``uri``."""
    scheme, bucket, path = parse(uri)
    return unparse(Location(scheme, bucket, posixpath.dirname(path.rstrip("/"))))


def resolve(folder: str, uri: str) -> str:
    """``uri`` as it stands when it is absolute, else relative to ``folder``; always absolute.

    UserError where a relative URI climbs out of the bucket.
    """
    if uri.startswith("/") or _SCHEME.match(uri):
        return unparse(parse(uri))
    scheme, bucket, path = parse(folder)
    target = posixpath.normpath(posixpath.join(path, uri))
    if target.startswith(".."):
        raise UserError(f"{uri}: leaves the bucket, seen from {folder}")
    return unparse(Location(scheme, bucket, target))
