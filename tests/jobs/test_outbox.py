"""What waits while a service is away, and what becomes of it."""

from __future__ import annotations

import pytest

from jobs.outbox import PAUSE_SECONDS, Outbox


class Service:
    """Takes names, unless it is away or refuses them."""

    def __init__(self) -> None:
        self.taken: list[str] = []
        self.tries = 0
        self.away = False
        self.errors: list[Exception] = []
        self.outbox = Outbox(lambda error: isinstance(error, OSError), self.errors.append)

    def put(self, name: str) -> None:
        def send() -> None:
            self.tries += 1
            if self.away:
                raise OSError("away")
            if "bad" in name:
                raise ValueError("refused")
            self.taken.append(name)

        self.outbox.put(name, send)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    return now


def test_what_waited_comes_in_its_order_when_the_service_is_back(clock: list[float]) -> None:
    service = Service()
    service.put("a")
    service.away = True
    service.put("b")
    service.put("c")
    assert service.tries == 2  # c waits for its turn without a try
    assert service.outbox.waiting
    service.away = False
    service.put("d")  # the pause is not over
    assert service.taken == ["a"]
    clock[0] += PAUSE_SECONDS
    service.put("e")
    assert service.taken == ["a", "b", "c", "d", "e"]
    assert not service.outbox.waiting
    assert service.outbox.lacking == []
    assert len(service.errors) == 1


def test_the_last_of_one_name_is_sent(clock: list[float]) -> None:
    service = Service()
    service.away = True
    for name in ("tag", "page", "tag"):
        service.put(name)
    service.away = False
    service.outbox.flush()
    assert service.taken == ["page", "tag"]


def test_what_is_refused_holds_up_nothing(clock: list[float]) -> None:
    service = Service()
    service.put("bad")
    service.put("good")
    assert service.taken == ["good"]
    assert not service.outbox.waiting
    assert service.outbox.lacking == ["bad"]
    assert [str(error) for error in service.errors] == ["refused"]
