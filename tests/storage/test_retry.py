"""Which failures are repeated, for how long, and what is said at the end."""

from __future__ import annotations

import pytest

from forensics.storage import AccessDenied, NotFound, StorageError, Unavailable
from forensics.storage.faults import translate
from forensics.storage.retry import Retry, Transient


class Clock:
    """A clock that only sleeping moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.pauses: list[float] = []
        monkeypatch.setattr("time.monotonic", lambda: self.now)
        monkeypatch.setattr("time.sleep", self.sleep)

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


def test_pauses_grow_and_end_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)

    def attempt() -> None:
        raise Transient("no connection")

    with pytest.raises(Unavailable, match=r"cannot read x: .* over 60 s \(no connection\)"):
        Retry(seconds=60.0).call(attempt, "cannot read x")
    assert clock.now == pytest.approx(60.0)
    for n, pause in enumerate(clock.pauses[:-1]):
        longest = min(3.0, 0.2 * 2**n)
        assert 0.5 * longest <= pause <= longest


def test_success_after_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)

    def attempt() -> str:
        if len(clock.pauses) < 5:
            raise Transient("busy")
        return "done"

    assert Retry().call(attempt, "x") == "done"


def test_final_errors_are_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)

    def attempt() -> None:
        raise NotFound("gone")

    with pytest.raises(NotFound):
        Retry().call(attempt, "x")
    assert clock.pauses == []


class Answer(Exception):
    """Shaped like botocore's ClientError."""

    def __init__(self, code: str, status: int) -> None:
        super().__init__(code)
        self.response = {
            "Error": {"Code": code, "Message": "says the server"},
            "ResponseMetadata": {"HTTPStatusCode": status},
        }


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("NoSuchKey", 404, NotFound),
        ("NoSuchBucket", 404, NotFound),
        ("404", 404, NotFound),
        ("AccessDenied", 403, AccessDenied),
        ("InvalidAccessKeyId", 403, AccessDenied),
        ("SignatureDoesNotMatch", 403, AccessDenied),
        ("ExpiredToken", 400, AccessDenied),
        ("403", 403, AccessDenied),
        ("InternalError", 500, Transient),
        ("SlowDown", 503, Transient),
        ("", 502, Transient),
        ("", 429, Transient),
        ("RequestTimeout", 400, Transient),
        ("ConditionalRequestConflict", 409, Transient),
        ("NotImplemented", 501, StorageError),
        ("InvalidArgument", 400, StorageError),
        ("EntityTooLarge", 400, StorageError),
    ],
)
def test_answers(code: str, status: int, kind: type[Exception]) -> None:
    assert type(translate(Answer(code, status), "cannot read x")) is kind


@pytest.mark.parametrize(
    "error", [ConnectionResetError("reset"), TimeoutError(), BrokenPipeError("pipe")]
)
def test_connection_failures_pass(error: Exception) -> None:
    assert type(translate(error, "x")) is Transient


def test_a_programming_error_does_not_pass() -> None:
    assert type(translate(TypeError("wrong argument"), "x")) is StorageError
