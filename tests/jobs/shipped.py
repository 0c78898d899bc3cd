"""The shipped files of settings, by name."""

from __future__ import annotations

from tests.conftest import ROOT

CONFIGS = {path.stem: path for path in sorted((ROOT / "configs").iterdir())}
