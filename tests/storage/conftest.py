"""A folder to store in, once local and once on a real S3 server."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from forensics.storage import Storage, join
from tests.patience import PATIENCE_SECONDS


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.s3)])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URI of an empty folder."""
    if request.param == "local":
        return str(tmp_path / "store")
    server = request.getfixturevalue("s3_server")
    return join(server.uri(), uuid.uuid4().hex)


@pytest.fixture
def storage() -> Storage:
    return Storage(retry_seconds=PATIENCE_SECONDS)
