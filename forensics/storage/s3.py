"""Objects in S3 or anything that speaks its protocol (through s3fs and its botocore client).

Credentials, region and endpoint come from where botocore looks for them (AWS_* variables, profile,
instance role). Every request is sent once by botocore; ``Retry`` owns the repetitions.
"""

from __future__ import annotations

import asyncio
import io
import os
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import s3fs

from forensics.storage import faults
from forensics.storage.base import Entry
from forensics.storage.errors import StorageError, TooLarge
from forensics.storage.retry import Retry, Transient
from forensics.storage.uri import Location, unparse

PART_BYTES = 64 << 20
"""Files above this size go up in parts of it; they appear when the last part is there."""

_CONNECT_TIMEOUT = 5.0  # seconds; short, because ``Retry`` repeats
_READ_TIMEOUT = 30.0  # seconds between two packets
_CONNECTIONS = 64
_READ_AHEAD = 1 << 20  # bytes fetched at once for a reader that asks for less

T = TypeVar("T")
Request = Callable[[Any], Awaitable[T]]


def _call(method: str, **arguments: Any) -> Request[Any]:
    """The request that calls ``method`` of the client."""
    return lambda client: getattr(client, method)(**arguments)


class S3Store:
    """Whole-object operations on S3; safe for threads, and built anew in a forked child."""

    def __init__(self, retry: Retry) -> None:
        self._retry = retry
        self._lock = threading.Lock()
        self._session: Any = None
        self._used_by: tuple[int, dict[str, str]] = 0, {}

    def _files(self) -> Any:
        # an instance of our own, not s3fs's cached one: that keeps credentials changed since
        used_by = os.getpid(), {k: v for k, v in os.environ.items() if k.startswith("AWS_")}
        with self._lock:
            if self._session is None or self._used_by != used_by:
                self._session = s3fs.S3FileSystem(
                    anon=False,
                    skip_instance_cache=True,
                    use_listings_cache=False,
                    config_kwargs={
                        "connect_timeout": _CONNECT_TIMEOUT,
                        "read_timeout": _READ_TIMEOUT,
                        "max_pool_connections": _CONNECTIONS,
                        "retries": {"total_max_attempts": 1},
                    },
                )
                self._used_by = used_by
            return self._session

    def _once(self, request: Request[T], what: str) -> T:
        """Send a request; the library's exceptions become ours (or ``Transient``)."""

        async def send() -> T:
            return await request(await files.set_session())

        try:
            files = self._files()
            return asyncio.run_coroutine_threadsafe(send(), files.loop).result()
        except (Transient, StorageError):
            raise
        except Exception as error:
            failed = faults.translate(error, what)
        raise failed  # outside the handler: the library's exception may hold signed headers

    def _send(self, request: Request[T], what: str) -> T:
        return self._retry.call(lambda: self._once(request, what), what)

    def read(self, at: Location, start: int, stop: int | None, max_bytes: int | None) -> bytes:
        whole = start == 0 and stop is None
        if stop is not None and stop <= start:
            return b""
        span = {} if whole else {"Range": f"bytes={start}-{'' if stop is None else stop - 1}"}

        async def get(client: Any) -> bytes:
            answer = await client.get_object(Bucket=at.bucket, Key=at.path, **span)
            expected = int(answer["ContentLength"])
            async with answer["Body"] as body:
                if max_bytes is not None and expected > max_bytes:
                    raise TooLarge(f"{unparse(at)}: {expected} bytes, the limit is {max_bytes}")
                data: bytes = await body.read()
            if len(data) != expected:
                raise Transient(f"got {len(data)} of {expected} bytes")
            return data

        try:
            return self._send(get, f"cannot read {unparse(at)}")
        except faults.BeyondEnd:
            return b""

    def write(self, at: Location, data: bytes) -> None:
        put = _call("put_object", Bucket=at.bucket, Key=at.path, Body=data)
        self._send(put, f"cannot write {unparse(at)}")

    def write_if_absent(self, at: Location, data: bytes) -> bool:
        put = _call("put_object", Bucket=at.bucket, Key=at.path, Body=data, IfNoneMatch="*")

        try:
            self._send(put, f"cannot write {unparse(at)}")
        except faults.Exists:
            # ours if the answer to it was lost and it was sent again, by Retry or by aiohttp
            return self.read(at, 0, None, None) == data
        return True

    def write_file(self, at: Location, source: str) -> None:
        if Path(source).stat().st_size <= PART_BYTES:
            self.write(at, Path(source).read_bytes())
            return
        what = f"cannot write {unparse(at)}"
        target = {"Bucket": at.bucket, "Key": at.path}
        begun = self._send(_call("create_multipart_upload", **target), what)
        upload = target | {"UploadId": begun["UploadId"]}
        try:
            parts = self._upload_parts(upload, source, what)
            listed = {"Parts": parts}
            self._send(_call("complete_multipart_upload", **upload, MultipartUpload=listed), what)
        except BaseException:
            with suppress(Transient, StorageError):  # the failure above is the one to report
                self._once(_call("abort_multipart_upload", **upload), what)
            raise

    def _upload_parts(
        self, upload: Mapping[str, str], source: str, what: str
    ) -> list[dict[str, Any]]:
        parts: list[dict[str, Any]] = []
        with Path(source).open("rb") as file:
            while block := file.read(PART_BYTES):
                numbered = {"PartNumber": len(parts) + 1, "Body": block}
                part = self._send(_call("upload_part", **upload, **numbered), what)
                parts.append({"PartNumber": len(parts) + 1, "ETag": part["ETag"]})
        return parts

    def size(self, at: Location) -> int:
        head = _call("head_object", Bucket=at.bucket, Key=at.path)
        return int(self._send(head, f"cannot read {unparse(at)}")["ContentLength"])

    def delete(self, at: Location) -> None:
        remove = _call("delete_object", Bucket=at.bucket, Key=at.path)
        self._send(remove, f"cannot delete {unparse(at)}")

    def open(self, at: Location) -> BinaryIO:
        return io.BufferedReader(RangeReader(self, at, self.size(at)), _READ_AHEAD)

    def list(self, at: Location) -> Iterator[Entry]:
        prefix = at.path.rstrip("/") + "/" if at.path.strip("/") else ""
        token: dict[str, str] = {}
        while True:
            fetch = _call("list_objects_v2", Bucket=at.bucket, Prefix=prefix, **token)
            page = self._send(fetch, f"cannot list {unparse(at)}")
            for found in page.get("Contents", ()):
                key = found["Key"]
                if not key.endswith("/"):  # folder markers of consoles and other tools
                    uri = f"s3://{at.bucket}/{key}"
                    yield Entry(uri, key[len(prefix) :], found["Size"], found["LastModified"])
            if not page.get("IsTruncated"):
                return
            token = {"ContinuationToken": page["NextContinuationToken"]}


class RangeReader(io.RawIOBase):
    """A seekable file over ranged reads, each of them retried."""

    def __init__(self, store: S3Store, at: Location, size: int) -> None:
        self._store, self._at, self._size, self._position = store, at, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def readinto(self, buffer: Any) -> int:
        stop = min(self._position + len(buffer), self._size)
        data = self._store.read(self._at, self._position, stop, None)
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)
