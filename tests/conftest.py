"""Fixtures for the whole suite."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.s3server import _running_s3_server, s3_server  # noqa: F401 - fixtures

torch.set_num_threads(1)  # small operations stall where several test processes share the cores

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real images and reference numbers beside the project."""
    folder = ROOT.parent / "shared"
    if not (folder / "interop").is_dir():
        pytest.skip("needs the real images and reference numbers in ../shared, which is absent")
    return folder
