"""The command on a bare machine: an interpreter without any installed library."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tomllib
from pathlib import Path

from forensics.__main__ import main
from forensics.custody import container
from tests.conftest import ROOT

BARE = [sys.executable, "-S", "-E", "-W", "error", "-m", "forensics"]
"""-S: without site-packages, so that NumPy and all others are not there."""


def bare(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*BARE, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )


def bundle(folder: Path, content: bytes = b"{}") -> Path:
    path = folder / "bundle.zip"
    path.write_bytes(container.write({"report.json": content}, {"image_id": "photo \u202e.jpg"}))
    return path


def test_without_any_library(tmp_path: Path) -> None:
    path = bundle(tmp_path)
    lacking = subprocess.run([*BARE[:2], "-c", "import numpy"], capture_output=True, check=False)
    assert lacking.returncode != 0  # it is bare
    done = bare("verify", str(path))
    assert (done.returncode, done.stderr) == (0, "")
    assert "whole     2 members" in done.stdout
    assert "\u202e" not in done.stdout
    data = bytearray(path.read_bytes())
    data[data.index(b"{}PK")] ^= 1
    path.write_bytes(data)
    done = bare("verify", str(path))
    assert done.returncode == 1
    assert "DIFFERS   report.json: altered" in done.stdout


def test_the_original_against_its_hash(tmp_path: Path) -> None:
    original = tmp_path / "photo.jpg"
    original.write_bytes(b"as it was found")
    right, path = hashlib.sha256(b"as it was found").hexdigest(), tmp_path / "bundle.zip"
    for known, code in ((right, 0), ("0" * 64, 1), (None, 1)):
        about = {"image_id": "a", "original": {"sha256": known}}
        path.write_bytes(container.write({"report.json": b"{}"}, about))
        assert main(["verify", str(path), "--original", str(original)]) == code
        assert main(["verify", str(path)]) == 0
    path.write_bytes(container.write({}, {"original": {"sha256": right}}))
    assert main(["verify", str(path), "--original", str(tmp_path / "absent")]) == 2


def test_no_command_and_an_unknown_one() -> None:
    for arguments, code in (([], 2), (["verfy"], 2), (["--help"], 0)):
        done = bare(*arguments)
        assert done.returncode == code
        assert "forensics verify BUNDLE" in done.stdout + done.stderr
    assert "--original" in bare("verify", "--help").stdout
    assert bare("verify").returncode == 2


def test_it_is_installed_under_its_name() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["scripts"] == {"forensics": "forensics.__main__:main"}
