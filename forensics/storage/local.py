"""Objects as files in local (or mounted) folders."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote_from_bytes

from forensics.storage.base import Entry
from forensics.storage.errors import AccessDenied, NotFound, StorageError, TooLarge
from forensics.storage.uri import Location, of_path

TEMPORARY = ".tmp-"
"""Names starting so are writes under way (or cut short by a kill); listings leave them out."""

_ABSENT = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG}
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK}
_FULL = {errno.ENOSPC, errno.EDQUOT}
_COPY_BYTES = 1 << 22


class LocalStore:
    """Whole-object operations on files; a write is seen completely or not at all."""

    def read(self, at: Location, start: int, stop: int | None, max_bytes: int | None) -> bytes:
        with _errors("read", at), _open_file(at.path) as file:
            size = os.fstat(file.fileno()).st_size
            wanted = max(0, (size if stop is None else min(stop, size)) - start)
            if max_bytes is not None and wanted > max_bytes:
                raise TooLarge(f"{of_path(at.path)}: {wanted} bytes, the limit is {max_bytes}")
            file.seek(start)
            return file.read(wanted)

    def write(self, at: Location, data: bytes) -> None:
        with _errors("write", at), _temporary(at.path, lambda file: file.write(data)) as name:
            name.replace(at.path)
            _sync_folder(at.path)

    def write_file(self, at: Location, source: str) -> None:
        def copy(target: BinaryIO) -> None:
            with Path(source).open("rb") as file:
                while block := file.read(_COPY_BYTES):
                    target.write(block)

        with _errors("write", at), _temporary(at.path, copy) as name:
            name.replace(at.path)
            _sync_folder(at.path)

    def write_if_absent(self, at: Location, data: bytes) -> bool:
        with _errors("write", at), _temporary(at.path, lambda file: file.write(data)) as name:
            try:
                os.link(name, at.path)
            except FileExistsError:
                return False
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                return self._create(at.path, data)
            _sync_folder(at.path)
            return True

    @staticmethod
    def _create(path: str, data: bytes) -> bool:
        """For file systems without hard links (exFAT): exclusive, though not in one step."""
        try:
            with Path(path).open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except FileExistsError:
            return False
        return True

    def size(self, at: Location) -> int:
        with _errors("read", at):
            info = Path(at.path).stat()
            if not stat.S_ISREG(info.st_mode):
                raise _not_regular(at.path, info.st_mode)
            return info.st_size

    def delete(self, at: Location) -> None:
        with _errors("delete", at), suppress(FileNotFoundError):
            Path(at.path).unlink()

    def open(self, at: Location) -> BinaryIO:
        with _errors("read", at):
            return _open_file(at.path)

    def list(self, at: Location) -> Iterator[Entry]:
        with _errors("list", at):
            yield from _walk(at.path, "", frozenset())


def _walk(folder: str, prefix: str, above: frozenset[tuple[int, int]]) -> Iterator[Entry]:
    """The files under ``folder`` in the order of their paths, as an S3 listing has them."""
    try:
        with os.scandir(folder) as scan:
            names = sorted(found.name + "/" if found.is_dir() else found.name for found in scan)
        here = Path(folder).stat()
    except FileNotFoundError:
        return  # an absent folder has no objects, as in S3
    if (here.st_dev, here.st_ino) in above:
        return  # a link that leads back up
    above |= {(here.st_dev, here.st_ino)}
    for name in names:
        path = f"{folder}/{name}"
        if name.endswith("/"):
            yield from _walk(path[:-1], prefix + name, above)
        elif not name.startswith(TEMPORARY):
            try:
                info = Path(path).stat()
            except FileNotFoundError:
                continue  # deleted meanwhile, or a dangling link
            if stat.S_ISREG(info.st_mode):
                modified = datetime.fromtimestamp(info.st_mtime, UTC)
                yield Entry(of_path(path), _text(prefix + name), info.st_size, modified)


def _text(path: str) -> str:
    """``path`` with percent-escapes where its bytes are no UTF-8."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return quote_from_bytes(os.fsencode(path))
    return path


def _open_file(path: str) -> BinaryIO:
    # without O_NONBLOCK, opening a named pipe waits for a writer for ever
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        raise _not_regular(path, mode)
    return os.fdopen(descriptor, "rb")


def _not_regular(path: str, mode: int) -> NotFound:
    kind = "a folder" if stat.S_ISDIR(mode) else "a device, pipe or socket"
    return NotFound(f"{of_path(path)}: is {kind}, not a file")


@contextmanager
def _temporary(path: str, fill: Callable[[BinaryIO], object]) -> Iterator[Path]:
    """A synced file beside ``path`` with the content; gone afterwards unless it was renamed."""
    folder = Path(path).parent
    folder.mkdir(parents=True, exist_ok=True)
    name = folder / (TEMPORARY + secrets.token_hex(8))
    try:
        with name.open("xb") as file:
            fill(file)
            file.flush()
            os.fsync(file.fileno())
        yield name
    finally:
        with suppress(FileNotFoundError):
            name.unlink()


def _sync_folder(path: str) -> None:
    descriptor = os.open(Path(path).parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _errors(action: str, at: Location) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        failed = error
    else:
        return
    what = f"cannot {action} {of_path(at.path)}: {failed.strerror or failed}"
    if failed.errno in _ABSENT:
        raise NotFound(f"{what}. Check the path.")
    if failed.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        raise AccessDenied(f"{what}. Check the owner and mode of the file and its folder.")
    if failed.errno in _FULL:
        raise StorageError(f"{what}. Make room on that disk and give the same command again.")
    raise StorageError(what)
