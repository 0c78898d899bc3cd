"""The manifest of the images that the results on the origin are of.

    python -m benchmarks.origin_manifest [--data ../shared/data] --output case/origin.parquet

Of the images for tests and experiments (see the data's README), labelled npi, cgg and dgi: all of
``origin``, whose folders are its sources; natural photos of ``cameras``, each device a source;
Kodak's, and the first 20 of BSDS500, so that no source has most of the photographs.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from forensics.manifest import write_manifest
from forensics.records import ManifestRow

BSDS500 = 20


def rows(data: Path) -> Iterator[ManifestRow]:
    """Label and source of each image."""
    for path in sorted(data.glob("origin/*/*/*")):
        yield _row(path, path.parts[-3], path.parts[-2])
    for path in sorted(data.glob("cameras/*/natural/*")):
        yield _row(path, "npi", path.parts[-3])
    for source, count in (("kodak24", None), ("bsds500", BSDS500)):
        for path in sorted(data.glob(f"pristine/{source}/*"))[:count]:
            yield _row(path, "npi", source)


def _row(path: Path, label: str, source: str) -> ManifestRow:
    return ManifestRow(f"{source}/{path.name}", str(path.resolve()), label=label, source=source)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--output", required=True)
    arguments = parser.parse_args()
    found = list(rows(arguments.data))
    write_manifest(found, arguments.output)
    print(f"{len(found)} images -> {arguments.output}")


if __name__ == "__main__":
    main()
