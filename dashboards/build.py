"""Write the dashboards as Grafana reads them, beside the code that makes them.

python -m dashboards.build
"""

from __future__ import annotations

from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from dashboards import scan, training

FOLDER = Path(__file__).resolve().parent
DASHBOARDS = {"scan.json": scan.build, "training.json": training.build}


def text(name: str) -> str:
    """Content of a dashboard's file."""
    return JSONEncoder(sort_keys=True, indent=1).encode(DASHBOARDS[name]().build()) + "\n"


def main() -> None:
    """Write them all."""
    for name in DASHBOARDS:
        (FOLDER / name).write_text(text(name))


if __name__ == "__main__":
    main()
