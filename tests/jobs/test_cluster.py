"""The pool fits the cluster or is refused; by plain numbers, and on a real Ray."""

from __future__ import annotations

import os

import pytest
import ray

from forensics.records import UserError
from jobs import cluster
from jobs.cluster import Pool, PoolSettings, check_budget, connected, size_pool


def have(monkeypatch: pytest.MonkeyPatch, **resources: float) -> None:
    monkeypatch.setattr(ray, "cluster_resources", lambda: resources)
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "Labels": {"ray.io/node-id": "1"}}])


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


class Scaling:
    """A cluster whose head has no CPUs, and that starts a node per call while it is asked to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, most: int, **node: float) -> None:
        self._most, self._node, self._up = most, node, 0
        self.asked: list[list[dict[str, float]]] = []
        group = {"ray.io/node-group": "head"}
        monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "Labels": group}])
        monkeypatch.setattr(ray, "cluster_resources", self._resources)
        monkeypatch.setattr(
            cluster, "request_resources", lambda bundles: self.asked.append(bundles)
        )
        monkeypatch.setattr(cluster, "POLL_SECONDS", 0.001)

    def _request(self, bundles: list[dict[str, float]]) -> None:
        self.asked.append(bundles)

    def _resources(self) -> dict[str, float]:
        if self.asked and self.asked[-1]:
            self._up = min(self._most, self._up + 1)
        return {name: self._up * amount for name, amount in self._node.items() if self._up}


def test_a_cluster_that_scales_is_asked_for_the_pool_and_waited_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scaling = Scaling(monkeypatch, 4, CPU=8, GPU=1)
    wanted = PoolSettings(workers=3, gpus_per_worker=1)
    assert size_pool(wanted) == pool(3, gpus=1)
    assert scaling.asked == [[{"CPU": 1.0, "GPU": 1.0}] * 3 + [{"CPU": 1}], []]  # and let go
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("waiting for nodes: 8 of 4 CPUs and 1 of 3 GPUs are up")
    assert len(lines) == 2  # as long as nothing changes there is nothing to say
    assert size_pool(wanted) == pool(3, gpus=1)
    assert len(scaling.asked) == 2  # they are up


def test_a_gpu_is_asked_for_by_its_share_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    scaling = Scaling(monkeypatch, 1, CPU=8, GPU=1)
    assert size_pool(PoolSettings(gpus_per_worker=0.5)) == pool(1, gpus=0.5)
    assert scaling.asked[0] == [{"CPU": 1.0, "GPU": 0.5}, {"CPU": 1}]


@pytest.mark.parametrize("seconds", [0, 0.05])
def test_a_pool_that_no_node_comes_for_is_refused_and_no_longer_asked_for(
    monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    scaling = Scaling(monkeypatch, 1, CPU=8)
    with pytest.raises(UserError, match=r"100 workers need 101 CPUs .* the cluster has 8 CPUs"):
        size_pool(PoolSettings(workers=100, wait_seconds=seconds))
    assert scaling.asked[-1] == []


def test_a_cluster_that_does_not_scale_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "request_resources", lambda bundles: pytest.fail("was asked"))
    have(monkeypatch, CPU=3)
    with pytest.raises(UserError, match="9 workers need 10 CPUs"):
        size_pool(PoolSettings(workers=9))


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
    monkeypatch.setattr(ray, "nodes", lambda: [])
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
