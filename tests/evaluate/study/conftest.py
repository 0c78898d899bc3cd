"""One archive for all tests of the studies."""

from __future__ import annotations

from pathlib import Path

import pytest

from forensics.prnu.library import CameraLibrary
from tests.evaluate.study.archive import put_model
from tests.prnu.cameras import trained_model


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> CameraLibrary:
    """A library of camera1 alone."""
    folder: Path = tmp_path_factory.mktemp("study")
    put_model(folder, trained_model(1))
    return CameraLibrary(str(folder / "models"))
