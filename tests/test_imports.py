"""The library stands alone: neither Ray nor MLflow, and light to import."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.conftest import ROOT

BLOCKED = ("ray", "mlflow")

IMPORT_ALL = """
import importlib, pkgutil, sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("ray", "mlflow"):
            raise ImportError(f"{name} is blocked here")

sys.meta_path.insert(0, Blocker())
import forensics

def names(package):
    for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        yield found.name

for name in sorted(names(forensics)):
    importlib.import_module(name)
    print(name)
"""


def python(code: str) -> list[str]:
    """Lines that the code prints in a fresh interpreter; a warning is an error there."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def imported(source: Path) -> Iterator[str]:
    """Top-level names of all packages that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def sources(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def test_every_module_imports_without_ray_and_mlflow() -> None:
    files = [path.relative_to(ROOT).with_suffix("") for path in sources("forensics")]
    expected = {".".join(path.parts).removesuffix(".__init__") for path in files}
    assert set(python(IMPORT_ALL)) == expected - {"forensics"}


def test_no_source_of_the_library_names_them_or_the_jobs() -> None:
    assert len(sources("forensics")) > 50
    for source in sources("forensics"):
        found = set(imported(source)) & {*BLOCKED, "jobs", "tests"}
        assert not found, f"{source} imports {found}"


def test_a_bare_import_is_light() -> None:
    heavy = "{'torch', 'numpy', 'pyarrow', 'PIL', 'pydantic', 'skimage', 'sklearn'}"
    assert python(f"import sys, forensics; print(sorted({heavy} & sys.modules.keys()))") == ["[]"]


def test_records_and_settings_are_light() -> None:
    code = "import sys, forensics.records, forensics.config; print('torch' in sys.modules)"
    assert python(code) == ["False"]
