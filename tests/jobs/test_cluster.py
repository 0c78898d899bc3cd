"""The pool fits the cluster or is refused; by plain numbers, and on a real Ray."""

from __future__ import annotations

import os

import pytest
import ray

from forensics.records import UserError
from jobs.cluster import Pool, PoolSettings, check_budget, connected, size_pool


def have(monkeypatch: pytest.MonkeyPatch, **resources: float) -> None:
    monkeypatch.setattr(ray, "cluster_resources", lambda: resources)


def pool(workers: int, cpus: float = 1.0, gpus: float = 0.0) -> Pool:
    return Pool(workers=workers, cpus_per_worker=cpus, gpus_per_worker=gpus)


@pytest.mark.parametrize(
    ("resources", "wanted", "expected"),
    [
        ({"CPU": 5}, {}, pool(4)),  # one CPU is left to Ray
        ({"CPU": 5}, {"workers": 4}, pool(4)),
        ({"CPU": 5}, {"cpus_per_worker": 2}, pool(2, 2)),
        ({"CPU": 5}, {"cpus_per_worker": 0.5}, pool(8, 0.5)),
        ({"CPU": 9, "GPU": 2}, {}, pool(2, gpus=1)),
        ({"CPU": 9, "GPU": 2}, {"gpus_per_worker": 0.5}, pool(4, gpus=0.5)),
        ({"CPU": 9, "GPU": 2}, {"gpus_per_worker": 0}, pool(8)),
        ({"CPU": 9, "GPU": 2}, {"workers": 1}, pool(1, gpus=1)),
        ({"CPU": 2}, {}, pool(1)),
    ],
)
def test_what_is_left_open_is_filled_in(
    monkeypatch: pytest.MonkeyPatch,
    resources: dict[str, float],
    wanted: dict[str, float],
    expected: Pool,
) -> None:
    have(monkeypatch, **resources)
    assert size_pool(PoolSettings.model_validate(wanted)) == expected


@pytest.mark.parametrize(
    ("wanted", "cpus", "gpus"),
    [(pool(3), 4, 0), (pool(3, 0.5), 2.5, 0), (pool(2, gpus=0.5), 3, 1), (pool(1), 2, 8)],
)
def test_a_pool_that_just_fits(wanted: Pool, cpus: float, gpus: float) -> None:
    check_budget(wanted, cpus, gpus)


@pytest.mark.parametrize(
    ("wanted", "cpus", "gpus", "message"),
    [
        (pool(4), 4, 0, "4 workers need 5 CPUs .* and 0 GPUs; the cluster has 4 CPUs and 0 GPUs"),
        (pool(3, 0.5), 2, 0, "3 workers need 2.5 CPUs"),
        (pool(2, gpus=1), 16, 1, "2 workers need 3 CPUs .* and 2 GPUs; .* 16 CPUs and 1 GPUs"),
        (pool(3, gpus=0.5), 16, 1, "1.5 GPUs"),
        (pool(1), 1, 0, "1 workers need 2 CPUs"),
    ],
)
def test_a_pool_that_would_hang_is_refused_with_the_numbers(
    wanted: Pool, cpus: float, gpus: float, message: str
) -> None:
    with pytest.raises(UserError, match=f"{message}.* would hang: set pool.workers"):
        check_budget(wanted, cpus, gpus)


def test_no_cluster_is_so_small_that_the_default_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    have(monkeypatch, CPU=1)
    with pytest.raises(UserError, match="1 workers need 2 CPUs"):
        size_pool(PoolSettings())


@pytest.mark.ray
def test_a_ray_that_runs_is_used_and_left_running(ray_local: None) -> None:
    with connected(PoolSettings()) as found:
        assert found == pool(3)
    assert ray.is_initialized()
    with (
        pytest.raises(UserError, match="4 workers need 5 CPUs"),
        connected(PoolSettings(workers=4)),
    ):
        pass


def test_a_ray_started_here_has_room_for_the_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    started: dict[str, object] = {}
    ended: list[bool] = []
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **options: started.update(options))
    monkeypatch.setattr(ray, "shutdown", lambda: ended.append(True))
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": started["num_cpus"]})
    monkeypatch.setattr(os, "cpu_count", lambda: 2)

    def start(**wanted: float) -> Pool:
        with connected(PoolSettings.model_validate(wanted)) as found:
            return found

    assert start() == pool(2)  # every core works, Ray's own CPU comes on top
    assert start(workers=5) == pool(5)
    assert start(workers=3, cpus_per_worker=0.5) == pool(3, 0.5)
    assert started["address"] == "local"
    with pytest.raises(KeyError), connected(PoolSettings()):
        raise KeyError
    assert len(ended) == 4


def test_an_address_is_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    options: dict[str, object] = {}
    monkeypatch.setenv("RAY_ADDRESS", "ray-head:6379")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **given: options.update(given))
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    have(monkeypatch, CPU=65)
    with connected(PoolSettings()) as found:
        assert found == pool(64)
    assert "num_cpus" not in options  # an existing cluster has its own
