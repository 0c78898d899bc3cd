"""The commands of the README start a Ray that lets nobody in without its token."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from tests.conftest import ROOT
from tests.jobs.heads import ENV, running_head

COMMANDS = re.findall(
    r"^    (?!#)(.+)$",
    (ROOT / "dashboards" / "README.md").read_text(encoding="utf-8"),
    re.MULTILINE,
)


def answer(url: str, **headers: str) -> int:
    try:
        with urlopen(Request(url, headers=headers)) as response:
            status: int = response.status
    except HTTPError as error:
        return error.code
    return status


@pytest.mark.ray
@pytest.mark.slow
def test_the_head_asks_for_the_token_that_the_first_line_makes(tmp_path: Path) -> None:
    token_line, head_line = COMMANDS[:2]
    env = {**ENV, "HOME": str(tmp_path)}
    shown = subprocess.run(
        ["bash", "-c", f"{token_line}; echo $RAY_AUTH_MODE"],
        env=env, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert shown == "token\n"  # the mode; the token itself is not shown
    file = tmp_path / ".ray" / "auth_token"
    assert file.stat().st_mode & 0o077 == 0
    assert shlex.split(head_line)[:3] == ["ray", "start", "--head"]
    token = file.read_text()
    env = {"HOME": str(tmp_path), "RAY_AUTH_MODE": "token"}
    with running_head(cpus=1, env=env, token=token) as head:
        assert answer(f"{head.jobs}/api/jobs/") == 401
        assert answer(f"{head.jobs}/api/jobs/", Authorization=f"Bearer {token}x") in (401, 403)
        assert answer(f"{head.jobs}/api/jobs/", Authorization=f"Bearer {token}") == 200
