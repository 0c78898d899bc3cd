"""A real S3 server: paging, refusals, and a server that goes away and comes back."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
import traceback
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from forensics.storage import AccessDenied, NotFound, Storage, Unavailable, join
from tests.patience import PATIENCE_SECONDS
from tests.s3server import ACCESS_KEY, SECRET_KEY, S3Server

pytestmark = pytest.mark.s3


@pytest.fixture
def folder(s3_server: S3Server) -> str:
    return join(s3_server.uri(), uuid.uuid4().hex)


def test_listing_goes_over_pages_without_holding_them(storage: Storage, folder: str) -> None:
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda i: storage.write(join(folder, f"{i % 7}/{i:05d}"), b"x"), range(2500)))
    listing = storage.list(folder)
    first = next(listing)
    assert first.name == "0/00000"
    storage.delete(join(folder, "6", "02498"))  # on the last page, which is not fetched yet
    names = [first.name, *(entry.name for entry in listing)]
    assert len(set(names)) == len(names)
    assert len(names) == 2499
    assert "6/02498" not in names


def test_folder_markers_are_no_objects(storage: Storage, folder: str) -> None:
    storage.write(join(folder, "sub") + "/", b"")
    storage.write(join(folder, "sub", "x"), b"1")
    assert [entry.name for entry in storage.list(folder)] == ["sub/x"]


def _everything_about(error: BaseException, log: str) -> str:
    parts = [log, str(error), repr(error), "".join(traceback.format_exception(error))]
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        parts += [str(link), repr(link), repr(vars(link)), repr(link.args)]
        link = link.__cause__ or link.__context__
    return "\n".join(parts)


@pytest.mark.parametrize(
    ("variable", "code"),
    [("AWS_SECRET_ACCESS_KEY", "SignatureDoesNotMatch"), ("AWS_ACCESS_KEY_ID", "InvalidAccess")],
)
def test_wrong_credentials(
    folder: str,
    storage: Storage,
    variable: str,
    code: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    wrong = "wrong-and-never-to-be-printed"
    monkeypatch.setenv(variable, wrong)
    started = time.monotonic()
    for action in (
        lambda: storage.read(join(folder, "x")),
        lambda: storage.write(join(folder, "x"), b""),
        lambda: storage.write_if_absent(join(folder, "x"), b""),
        lambda: next(storage.list(folder)),
    ):
        with pytest.raises(AccessDenied) as caught:
            action()
        message = str(caught.value)
        assert code in message
        assert "AWS_ACCESS_KEY_ID" in message
        assert "\n" not in message
        shown = _everything_about(caught.value, caplog.text)
        assert not [secret for secret in (wrong, ACCESS_KEY, SECRET_KEY) if secret in shown]
    with pytest.raises(AccessDenied):
        storage.exists(join(folder, "x"))
    assert time.monotonic() - started < PATIENCE_SECONDS  # nothing of this was tried again


def test_no_credentials(folder: str, storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    with pytest.raises(AccessDenied, match="no usable credentials"):
        storage.read(join(folder, "x"))


def test_changed_environment_takes_effect(
    folder: str, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage.write(join(folder, "x"), b"1")
    with monkeypatch.context() as patch:
        patch.setenv("AWS_SECRET_ACCESS_KEY", "rotated")
        with pytest.raises(AccessDenied):
            storage.read(join(folder, "x"))
    assert storage.read(join(folder, "x")) == b"1"


@pytest.mark.usefixtures("s3_server")
def test_missing_bucket(storage: Storage) -> None:
    for action in (
        lambda: storage.read("s3://no-such-bucket/x"),
        lambda: storage.write("s3://no-such-bucket/x", b""),
        lambda: next(storage.list("s3://no-such-bucket/x")),
    ):
        with pytest.raises(NotFound, match=r"s3://no-such-bucket/x.*bucket"):
            action()


@contextlib.contextmanager
def _away(server: S3Server, seconds: float, kill: bool) -> Iterator[None]:
    """The server is stopped now, and started again after ``seconds``."""
    server.stop(kill=kill)
    timer = threading.Timer(seconds, server.start)
    timer.start()
    try:
        yield
    finally:
        timer.join()


@pytest.mark.parametrize("kill", [False, True])
def test_server_away_for_a_while(s3_server: S3Server, folder: str, kill: bool) -> None:
    storage = Storage(retry_seconds=PATIENCE_SECONDS)
    storage.write(join(folder, "before"), b"before")
    time.sleep(0.5)  # the killed server has written its index by now
    with _away(s3_server, 2.0, kill=kill), ThreadPoolExecutor(4) as pool:
        read = pool.submit(storage.read, join(folder, "before"))
        write = pool.submit(storage.write, join(folder, "during"), b"during")
        lease = pool.submit(storage.write_if_absent, join(folder, "lease"), b"mine")
        listed = pool.submit(lambda: [entry.name for entry in storage.list(folder)])
        assert read.result() == b"before"
        write.result()
        assert lease.result()
        assert "before" in listed.result()
    assert storage.read(join(folder, "during")) == b"during"
    assert storage.read(join(folder, "lease")) == b"mine"


def test_many_writes_over_a_restart(s3_server: S3Server, folder: str) -> None:
    """Requests in flight while the server goes down and comes up: no error, nothing lost."""
    storage = Storage(retry_seconds=PATIENCE_SECONDS)
    stop = threading.Event()

    def work(worker: int) -> list[str]:
        done = []
        while not stop.is_set():
            uri = join(folder, f"{worker}-{len(done)}")
            storage.write(uri, uri.encode())
            assert storage.read(uri) == uri.encode()
            done.append(uri)
            time.sleep(0.01)
        return done

    with ThreadPoolExecutor(4) as pool:
        running = [pool.submit(work, worker) for worker in range(4)]
        time.sleep(1.0)
        s3_server.stop()
        s3_server.start()
        time.sleep(2.0)
        stop.set()
        written = [uri for each in running for uri in each.result()]
    assert len(written) > 20
    assert {entry.uri for entry in storage.list(folder)} >= set(written)


def test_server_away_for_too_long(s3_server: S3Server, folder: str) -> None:
    storage = Storage(retry_seconds=1.0)
    s3_server.stop()
    with pytest.raises(Unavailable, match=r"cannot read s3://.*AWS_ENDPOINT_URL") as caught:
        storage.read(join(folder, "x"))
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
