"""What a committed timing says of where it was taken."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any


def machine(*libraries: str) -> dict[str, Any]:
    """Commit (null outside a checkout), processor, cores, load, versions of the named libraries.

    To be asked before the run: the load is that of the others.
    """
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "commit": _commit(),
        "cpu": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "load_average_before": os.getloadavg()[0],
        "versions": {
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in libraries},
        },
    }


def _commit() -> str | None:
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    here = Path(__file__).parent
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=True, cwd=here)
    except (OSError, subprocess.CalledProcessError):
        return None
    return found.stdout.strip()
