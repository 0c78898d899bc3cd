"""What the documents tell people to type: jobs, settings and files that exist."""

from __future__ import annotations

import importlib
import inspect
import itertools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from forensics.config import Settings, fields

ROOT = Path(__file__).parent.parent
SOURCES = (
    ROOT / "README.md",
    *sorted(ROOT.glob("docs/**/*.md")),
    *sorted(ROOT.glob("dashboards/*.md")),
    *sorted(ROOT.glob("jobs/*.py")),
)
COMMAND = re.compile(r"python -m (jobs|benchmarks)\.(\w+)([^`\n|)]*)")


def commands(path: Path) -> Iterator[tuple[str, str, list[str]]]:
    """Package, module and words of every command, lines that end in a backslash joined."""
    text = re.sub(r"\\\n\s*", " ", path.read_text())
    for package, module, rest in COMMAND.findall(text):
        rest = re.sub(r"(\s→|\s#|[;:…]|\.\s|,\s).*", "", rest)
        yield package, module, shlex.split(rest.replace("'", ""))


def settings_of(module: str) -> type[Settings]:
    found = importlib.import_module(f"jobs.{module}")
    kinds = [k for name, k in inspect.getmembers(found, inspect.isclass) if name.endswith("Job")]
    own = [kind for kind in kinds if kind.__module__ == found.__name__] or kinds
    assert len(own) == 1, f"jobs.{module} has {len(own)} settings classes"
    return own[0]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_documented_commands_can_be_given(path: Path) -> None:
    for package, module, words in commands(path):
        assert (ROOT / package / f"{module}.py").is_file(), f"{package}.{module}"
        if package == "benchmarks":
            continue
        known = {name for name, _ in fields(settings_of(module))} | {"config", "help"}
        options = [word[2:].split("=")[0] for word in words if word.startswith("--")]
        assert set(options) <= known, f"{module}: {sorted(set(options) - known)}"
        for option, value in itertools.pairwise(words):
            if option == "--config" and "*" not in value and "<" not in value:
                assert value.startswith("repeat/") or (ROOT / value).is_file(), value


def test_commands_are_found() -> None:
    found = list(commands(ROOT / "README.md"))
    assert len(found) > 15
    assert ("jobs", "doctor", ["--config", "configs/scan.yaml"]) in found
    joined = list(commands(ROOT / "jobs" / "calibrate.py"))
    assert joined[0][2][-2:] == ["--output", "case/untouched"]


def test_links_lead_somewhere() -> None:
    for path in SOURCES:
        if path.suffix == ".md":
            for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", path.read_text()):
                if "://" not in target:
                    assert (path.parent / target).exists(), f"{path.name}: {target}"
