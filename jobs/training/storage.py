"""Ray Train's files through our own storage: local paths and S3 alike, every file by one put.

Ray Train takes a pyarrow file system. Its own would find the credentials elsewhere than all the
rest of a job, and it writes its list of checkpoints in place: killed while it does, a training
could not be continued.
"""

from __future__ import annotations

import io
import posixpath
import shutil
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import fs

from forensics import storage
from forensics.storage.uri import parse


def file_system(root: str) -> Any:
    """A pyarrow file system whose paths start at the URI ``root``. It can be pickled."""
    return fs.PyFileSystem(_Handler(root))


@dataclass(frozen=True)
class _Handler(fs.FileSystemHandler):  # type: ignore[misc]
    """Folders are what lies below them, as on S3: making one does nothing."""

    root: str

    def get_type_name(self) -> str:
        return "forensics"

    def normalize_path(self, path: str) -> str:
        return posixpath.normpath(path).strip("/")

    def get_file_info(self, paths: Iterable[str]) -> list[Any]:
        return [self._info(path) for path in paths]

    def get_file_info_selector(self, selector: Any) -> list[Any]:
        base = self.normalize_path(selector.base_dir)
        files: list[Any] = []
        folders: set[str] = set()
        for entry in storage.list(self._uri(base)):
            above = entry.name.split("/")[:-1]
            if selector.recursive or not above:
                path = posixpath.join(base, entry.name)
                files.append(fs.FileInfo(path, fs.FileType.File, size=entry.size))
            for depth in range(1, len(above) + 1 if selector.recursive else min(2, len(above) + 1)):
                folders.add(posixpath.join(base, *above[:depth]))
        if not files and not folders and not selector.allow_not_found:
            raise FileNotFoundError(base)
        return [fs.FileInfo(path, fs.FileType.Directory) for path in sorted(folders)] + files

    def create_dir(self, path: str, recursive: bool) -> None:
        pass

    def delete_dir(self, path: str) -> None:
        clear(self._uri(path))

    def delete_dir_contents(self, path: str, missing_dir_ok: bool = False) -> None:
        clear(self._uri(path))

    def delete_root_dir_contents(self) -> None:
        clear(self.root)

    def delete_file(self, path: str) -> None:
        storage.delete(self._uri(path))

    def move(self, src: str, dest: str) -> None:
        self.copy_file(src, dest)
        self.delete_file(src)

    def copy_file(self, src: str, dest: str) -> None:
        storage.write(self._uri(dest), self._read(src))

    def open_input_stream(self, path: str) -> Any:
        return pa.PythonFile(io.BytesIO(self._read(path)), mode="r")

    def open_input_file(self, path: str) -> Any:
        return self.open_input_stream(path)

    def open_output_stream(self, path: str, metadata: Any) -> Any:
        return pa.PythonFile(_Output(self._uri(path)), mode="w")

    def open_append_stream(self, path: str, metadata: Any) -> Any:
        raise NotImplementedError("objects are written whole")

    def _uri(self, path: str) -> str:
        path = self.normalize_path(path)
        return storage.join(self.root, path) if path not in ("", ".") else self.root

    def _read(self, path: str) -> bytes:
        try:
            return storage.read(self._uri(path))
        except storage.NotFound as error:
            raise FileNotFoundError(str(error)) from None

    def _info(self, path: str) -> Any:
        try:
            size = storage.size(self._uri(path))
        except storage.NotFound:
            below = next(iter(storage.list(self._uri(path))), None)
            return fs.FileInfo(path, fs.FileType.Directory if below else fs.FileType.NotFound)
        return fs.FileInfo(path, fs.FileType.File, size=size)


class _Output(io.BytesIO):
    """Stored when it is closed."""

    def __init__(self, uri: str) -> None:
        super().__init__()
        self._uri = uri

    def close(self) -> None:
        if not self.closed:
            storage.write(self._uri, self.getvalue())
        super().close()


def clear(uri: str) -> None:
    """Delete everything below a folder, and a local folder itself."""
    for entry in list(storage.list(uri)):
        storage.delete(entry.uri)
    at = parse(uri)
    if at.scheme == "file":
        shutil.rmtree(at.path, ignore_errors=True)
        with suppress(OSError):  # the folder that holds it, once it is empty
            Path(at.path).parent.rmdir()
