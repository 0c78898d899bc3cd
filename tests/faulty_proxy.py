"""A proxy before a server that goes wrong as networks and busy servers do, reproducibly."""

from __future__ import annotations

import http.client
import random
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

SLOW_DOWN = (
    b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
)


class FaultyProxy:
    """Passes requests on, but refuses some (503), delays some, and cuts some answers in half.

    A context manager; ``endpoint`` is where it listens on loopback, ``faults`` counts what it did.
    Shares are chances per request, drawn from the seed.
    """

    def __init__(
        self, upstream: str, *, refused: float, slow: float, cut: float, seed: int = 0
    ) -> None:
        self.faults: Counter[str] = Counter()
        self._host = urlsplit(upstream).netloc
        self._shares = {"refused": refused, "slow": slow, "cut": cut}
        self._rng, self._lock = random.Random(seed), threading.Lock()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                try:
                    super().handle_one_request()
                except (ConnectionError, TimeoutError):
                    self.close_connection = True

            def _pass_on(self) -> None:
                proxy._answer(self)

            do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _pass_on  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> FaultyProxy:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _fault(self) -> str | None:
        with self._lock:
            drawn = self._rng.random()
            for name, share in self._shares.items():
                if drawn < share:
                    self.faults[name] += 1
                    return name
                drawn -= share
        return None

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        body = _body(request)
        fault = self._fault()
        if fault == "refused":
            _send(request, 503, [("Content-Type", "application/xml")], SLOW_DOWN)
            return
        if fault == "slow":
            time.sleep(2)
        connection = http.client.HTTPConnection(self._host, timeout=30)
        try:
            # the host that the client signed stays: the server checks the signature with it
            connection.putrequest(
                request.command, request.path, skip_host=True, skip_accept_encoding=True
            )
            for name, value in request.headers.items():
                if name.lower() not in ("connection", "expect", "transfer-encoding"):
                    connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            content = answer.read()
            headers = [
                (name, value)
                for name, value in answer.getheaders()
                if name.lower() not in ("connection", "transfer-encoding", "content-length")
            ]
            length = answer.getheader("Content-Length")
        finally:
            connection.close()
        if fault == "cut" and len(content) > 1:
            content, length = content[: len(content) // 2], str(len(content))
            request.close_connection = True
        _send(request, answer.status, headers, content, length)


def _body(request: BaseHTTPRequestHandler) -> bytes:
    if request.headers.get("Expect", "").lower() == "100-continue":
        request.send_response_only(100)
        request.end_headers()
    return request.rfile.read(int(request.headers.get("Content-Length", 0)))


def _send(
    request: BaseHTTPRequestHandler,
    status: int,
    headers: list[tuple[str, str]],
    content: bytes,
    length: str | None = None,
) -> None:
    request.send_response_only(status)
    for name, value in headers:
        request.send_header(name, value)
    request.send_header("Content-Length", length or str(len(content)))
    request.end_headers()
    if request.command != "HEAD":
        request.wfile.write(content)
        request.wfile.flush()
