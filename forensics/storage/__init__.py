"""Objects by URI: local paths, ``file://`` and ``s3://``, read and written whole.

A commit is one ``write``: one PutObject on S3, one rename locally. Nobody sees half an object.
The functions of this module are those of one ``Storage`` that the whole process shares.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from forensics.storage.base import Entry, Store
from forensics.storage.errors import AccessDenied, NotFound, StorageError, TooLarge, Unavailable
from forensics.storage.local import LocalStore
from forensics.storage.retry import Retry
from forensics.storage.s3 import S3Store
from forensics.storage.uri import Location, join, parent, parse, resolve

__all__ = [
    "AccessDenied",
    "Entry",
    "NotFound",
    "Storage",
    "StorageError",
    "TooLarge",
    "Unavailable",
    "delete",
    "exists",
    "join",
    "list",
    "open",
    "parent",
    "read",
    "read_range",
    "resolve",
    "size",
    "write",
    "write_file",
    "write_if_absent",
]


class Storage:
    """Every kind of store behind one set of operations.

    Share one between threads: it holds the S3 connections, made at first use and again after a
    fork or a change of the AWS_* environment. It can be pickled into another process.

    Parameters
    ----------
    retry_seconds
        How long an operation on S3 is repeated while the server is away, overloaded or failing.

    Raises
    ------
    StorageError
        From every operation: ``NotFound``, ``AccessDenied``, ``Unavailable`` (retries used up),
        ``TooLarge``, or ``StorageError`` itself (full disk, …).
    UserError
        For a URI that cannot be parsed or carries credentials.
    """

    def __init__(self, retry_seconds: float = 60.0) -> None:
        self.retry_seconds = retry_seconds
        self._stores: dict[str, Store] = {
            "file": LocalStore(),
            "s3": S3Store(Retry(retry_seconds)),
        }

    def __reduce__(self) -> tuple[type[Storage], tuple[float]]:
        return Storage, (self.retry_seconds,)

    def _at(self, uri: str) -> tuple[Store, Location]:
        at = parse(uri)
        return self._stores[at.scheme], at

    def read(self, uri: str, max_bytes: int | None = None) -> bytes:
        """The whole object; ``TooLarge`` before anything is loaded if it exceeds ``max_bytes``."""
        store, at = self._at(uri)
        return store.read(at, 0, None, max_bytes)

    def read_range(self, uri: str, start: int, stop: int) -> bytes:
        """Bytes ``start`` to ``stop`` (exclusive), fewer where the object ends before."""
        store, at = self._at(uri)
        return store.read(at, start, stop, None)

    def write(self, uri: str, data: bytes) -> None:
        """Store an object in one step, replacing an older one; folders are made as needed."""
        store, at = self._at(uri)
        store.write(at, data)

    def write_file(self, uri: str, path: str) -> None:
        """Store a local file in one step (as seen by readers), however large it is."""
        store, at = self._at(uri)
        store.write_file(at, path)

    def write_if_absent(self, uri: str, data: bytes) -> bool:
        """Store an object unless it exists; False if it does. Of several callers one gets True.

        On S3 this is a conditional put (If-None-Match), which the server must support. ``data``
        must differ between callers: a write whose answer was lost is recognised by its content.
        """
        store, at = self._at(uri)
        return store.write_if_absent(at, data)

    def exists(self, uri: str) -> bool:
        """Whether there is such an object (a folder is none)."""
        try:
            self.size(uri)
        except NotFound:
            return False
        return True

    def size(self, uri: str) -> int:
        """Bytes of the object."""
        store, at = self._at(uri)
        return store.size(at)

    def list(self, uri: str) -> Iterator[Entry]:
        """Every object below a folder, in the order of their names, fetched page by page.

        Nothing where the folder does not exist; ``NotFound`` where the bucket does not.
        """
        store, at = self._at(uri)
        return store.list(at)

    def delete(self, uri: str) -> None:
        """Remove an object; no error where there is none."""
        store, at = self._at(uri)
        store.delete(at)

    def open(self, uri: str) -> BinaryIO:
        """A seekable file for reading parts of an object, for Parquet readers."""
        store, at = self._at(uri)
        return store.open(at)


_shared = Storage()
read = _shared.read
read_range = _shared.read_range
write = _shared.write
write_file = _shared.write_file
write_if_absent = _shared.write_if_absent
exists = _shared.exists
size = _shared.size
list = _shared.list
delete = _shared.delete
open = _shared.open
