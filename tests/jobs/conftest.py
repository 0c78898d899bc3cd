"""Ray for the job tests: one for the whole session; `jobs.cluster.connected` uses it as it is."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

os.environ.setdefault("RAY_AUTH_MODE", "disabled")  # read when ray is imported

import jobs.cluster  # noqa: F401 - sets Ray's environment before ray is imported

import ray  # isort: skip


@pytest.fixture(scope="session")
def ray_local() -> Iterator[None]:
    """A Ray on this machine with four logical CPUs and a small object store."""
    ray.init(
        address="local",
        num_cpus=4,
        include_dashboard=False,
        object_store_memory=200_000_000,
        log_to_driver=False,
    )
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One MLflow store for all tests of a module; making one takes a second."""
    return f"sqlite:///{tmp_path_factory.mktemp('store') / 'mlflow.db'}"
