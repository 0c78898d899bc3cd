"""What can go wrong with stored objects. The messages name the object and hold no secret."""

from __future__ import annotations

from forensics.records import UserError
from forensics.text import visible


class StorageError(UserError):
    """An object could not be read, written, listed or deleted. The message is one line."""

    def __init__(self, message: str = "") -> None:
        super().__init__(visible(message))


class NotFound(StorageError):
    """The object, folder or bucket does not exist."""


class AccessDenied(StorageError):
    """The store refuses these credentials, or there are none."""


class Unavailable(StorageError):
    """The store kept failing for longer than the retries last."""


class TooLarge(StorageError):
    """The object is larger than the caller wants to hold in memory."""
