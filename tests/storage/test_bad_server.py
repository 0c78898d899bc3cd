"""A server that answers wrongly: truncated bodies, overload, closed connections."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from forensics.storage import Storage, Unavailable
from tests.patience import PATIENCE_SECONDS

BODY = b"0123456789" * 100


class Faulty(BaseHTTPRequestHandler):
    """Spoils the first answers in the way that the key names, then answers well."""

    protocol_version = "HTTP/1.1"
    spoil = 0
    held: bytes | None = None

    def log_message(self, *_: object) -> None:
        pass

    def _spoiled(self) -> bool:
        kind = type(self)
        kind.spoil -= 1
        return kind.spoil >= 0

    def _answer(self, status: int, body: bytes, length: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        if not self._spoiled():
            self._answer(200, BODY)
        elif "truncated" in self.path:
            self._answer(200, BODY[:300], len(BODY))
            self.close_connection = True
        elif "busy" in self.path:
            self._answer(503, b"<Error><Code>SlowDown</Code><Message>slow</Message></Error>")
        elif "nonsense" in self.path:
            self._answer(503, b"<html>the proxy is restarting")
        else:
            self.close_connection = True  # without a word

    def do_PUT(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        kind = type(self)
        if "If-None-Match" in self.headers and kind.held is not None:
            self._answer(412, b"<Error><Code>PreconditionFailed</Code></Error>")
            return
        kind.held = content
        if self._spoiled():
            self.close_connection = True  # stored, but nobody hears of it
        else:
            self._answer(200, b"")


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Faulty]]:
    kind = type("Spoiled", (Faulty,), {"spoil": 0, "held": None})
    server = ThreadingHTTPServer(("127.0.0.1", 0), kind)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "some-key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "some-secret")
    yield kind
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize("key", ["truncated", "busy", "nonsense", "closed"])
def test_bad_answers_are_repeated(faulty: type[Faulty], key: str) -> None:
    faulty.spoil = 3
    assert Storage(retry_seconds=PATIENCE_SECONDS).read(f"s3://bucket/{key}") == BODY
    assert faulty.spoil < 0


@pytest.mark.parametrize("key", ["truncated", "busy", "nonsense", "closed"])
def test_bad_answers_end_in_unavailable(faulty: type[Faulty], key: str) -> None:
    faulty.spoil = 1000
    with pytest.raises(Unavailable, match=f"s3://bucket/{key}"):
        Storage(retry_seconds=0.5).read(f"s3://bucket/{key}")


def test_conditional_write_whose_answer_was_lost_is_ours(
    faulty: type[Faulty], monkeypatch: pytest.MonkeyPatch
) -> None:
    faulty.spoil = 1
    monkeypatch.setattr(Faulty, "do_GET", lambda self: self._answer(200, self.held))
    assert Storage().write_if_absent("s3://bucket/lease", b"owner a")
    assert not Storage().write_if_absent("s3://bucket/lease", b"owner b")
    assert faulty.held == b"owner a"
