"""What every store can do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import BinaryIO, Protocol

from forensics.storage.uri import Location


@dataclass(frozen=True, slots=True)
class Entry:
    """One object of a listing."""

    uri: str  # absolute
    name: str  # path relative to the listed folder, with "/"
    size: int  # bytes
    modified: datetime  # UTC


class Store(Protocol):
    """Operations on whole objects. Errors are ``StorageError``s that name the object."""

    def read(self, at: Location, start: int, stop: int | None, max_bytes: int | None) -> bytes: ...
    def write(self, at: Location, data: bytes) -> None: ...
    def write_file(self, at: Location, source: str) -> None: ...
    def write_if_absent(self, at: Location, data: bytes) -> bool: ...
    def size(self, at: Location) -> int: ...
    def delete(self, at: Location) -> None: ...
    def open(self, at: Location) -> BinaryIO: ...
    def list(self, at: Location) -> Iterator[Entry]: ...
