"""The command ``forensics``: what can be done without Ray, MLflow or any other library.

    python -m forensics verify BUNDLE [--original FILE] [--digest SHA-256]

Exit codes are those of the command asked for; 2 for one that does not exist.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from forensics.custody import verify


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command named first; returns its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["verify"]:
        return verify.main(given[1:])
    wanted = given[:1] in (["--help"], ["-h"])
    (sys.stdout if wanted else sys.stderr).write(f"{__doc__}\n")
    return 0 if wanted else verify.UNUSABLE


if __name__ == "__main__":
    sys.exit(main())
