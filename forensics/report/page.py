"""One self-contained HTML page per scan: what a reviewer reads, worst first.

The page works from a file without a network. Everything from outside (names, reasons, columns) is
data: rows are embedded as JSON that cannot end its script element, the script fills the page with
``textContent`` only, and a Content-Security-Policy admits nothing but the page's own script and
style, by hash, and pictures that are ``data:`` or lie beside it.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from string import Template
from typing import Any

_ATTENTION = ("failed", "timeout", "unreadable", "ok", "not_applicable")
PICTURE_TYPES = ("image/jpeg", "image/png", "image/webp")
_FILE = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class PageRow:
    """One image on the page.

    ``detectors`` holds, by detector, its ``status``, ``reason`` and ``score`` (each may be absent
    or None) and any further columns: scalars, or lists and mappings of them. ``score`` is the
    image's own, in 0..1; None comes last. ``share`` is the smallest share of pristine images that
    score as high, by any detector, where the scan has a calibration; then it gives the order.
    ``picture`` and ``thumbnail`` are encoded files of type ``picture_mime`` that the page holds
    itself; ``file`` names them where they lie beside the page (32 hex digits). ``missing`` says why
    there is no picture.
    """

    image_id: str
    uri: str
    status: str
    reason: str | None = None
    camera_id: str | None = None
    label: str | None = None
    width: int | None = None  # pixels
    height: int | None = None  # pixels
    size: int | None = None  # bytes
    sha256: str | None = None
    detectors: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    score: float | None = None
    share: float | None = None
    flagged: bool = False
    decision: Mapping[str, str] | None = None  # of a reviewer, as `decisions.Decision`
    picture: bytes | None = None
    thumbnail: bytes | None = None
    file: str | None = None
    missing: str | None = None
    picture_mime: str = "image/webp"


@dataclass(frozen=True, slots=True)
class PageSummary:
    """What the page says of the scan as a whole.

    ``counts`` has the images per status of the whole run, of which the page may list only a part;
    ``flagged`` those above a threshold of the calibration, None where there is none.
    """

    title: str
    counts: Mapping[str, int]
    digest: str  # of the run
    created: str  # when the page was made, as it is to be read
    versions: Mapping[str, str] = field(default_factory=dict)
    flagged: int | None = None
    note: str = ""  # on the run as a whole
    more: str = ""  # the command that makes more pictures


@dataclass(frozen=True, slots=True)
class _Order:
    """What the page says of its order."""

    worst: str
    best: str
    about: str


_BY_SCORE = _Order(
    "highest score first",
    "lowest score first",
    "The list has the highest score of any detector first, unless you choose one. Scores of "
    "different detectors are not on one scale: with a calibration (jobs.calibrate) they would be.",
)
_BY_SHARE = _Order(
    "rarest first",
    "commonest first",
    "The list is in the order of rarity: the number is the share of your own pristine images that "
    "score at least as high, the smallest of the image's detectors; choose a detector to see its "
    "scores. Flagged is what lies above the threshold of the calibration.",
)


def render_page(rows: Sequence[PageRow], summary: PageSummary) -> str:
    """The page as HTML text, to be written as UTF-8.

    Rows are ordered by `worst_first`. It grows by 4/3 of the bytes of pictures and thumbnails; the
    folder ``pictures`` beside it holds those that rows name by ``file``. Raises ValueError for
    a picture of a type other than JPEG, PNG and WebP, and for the name of a file that is none.
    """
    ordered = sorted(
        rows, key=lambda row: worst_first(row.score, row.status, row.image_id, row.share)
    )
    order = _BY_SCORE if summary.flagged is None else _BY_SHARE
    pictured = [row for row in ordered if row.picture is not None]
    number = {row.image_id: n for n, row in enumerate(pictured)}
    data = {
        "run": summary.digest,
        "counts": summary.counts,
        "flagged": summary.flagged,
        "more": summary.more,
        "rows": [_row(row, number.get(row.image_id)) for row in ordered],
    }
    style, script = _part("page.css"), _part("decisions.js") + _part("page.js")
    versions = " · ".join(f"{name} {version}" for name, version in summary.versions.items())
    footer = " · ".join(
        part for part in (f"run {summary.digest}", versions, summary.created) if part
    )
    return Template(_part("page.html")).substitute(
        policy=(
            f"default-src 'none'; img-src 'self' data:; style-src '{_hash(style)}'; "
            f"script-src '{_hash(script)}'; base-uri 'none'; form-action 'none'"
        ),
        title=_text(summary.title),
        note=_text(summary.note),
        worst=_text(order.worst),
        best=_text(order.best),
        order=_text(order.about),
        style=style,
        footer=_text(footer),
        data=_json(data),
        pictures="\n".join(_pictures(n, row) for n, row in enumerate(pictured)),
        script=script,
    )


def worst_first(
    score: float | None, status: str, image_id: str, share: float | None = None
) -> tuple[float, bool, float, int, str]:
    """Sort key: smallest share of pristine images first, among equals the highest score.

    Without a share, after all that have one; without a score too, what went wrong before what
    abstained.
    """
    number, rarity = _plain(score), _plain(share)
    attention = _ATTENTION.index(status) if status in _ATTENTION else len(_ATTENTION)
    least = math.inf if rarity is None else rarity
    return least, number is None, -(number or 0.0), attention, image_id


def _row(row: PageRow, picture: int | None) -> dict[str, Any]:
    if row.file is not None and not _FILE.fullmatch(row.file):
        raise ValueError(f"{row.image_id}: {row.file!r} is no name of a picture")
    return {
        "id": row.image_id,
        "uri": row.uri,
        "status": row.status,
        "reason": row.reason,
        "camera": row.camera_id,
        "label": row.label,
        "width": row.width,
        "height": row.height,
        "size": row.size,
        "sha256": row.sha256,
        "score": row.score,
        "share": row.share,
        "flagged": row.flagged,
        "decision": row.decision,
        "detectors": row.detectors,
        "picture": picture,
        "file": row.file,
        "missing": row.missing,
    }


def _pictures(number: int, row: PageRow) -> str:
    if row.picture_mime not in PICTURE_TYPES:
        raise ValueError(
            f"{row.image_id}: a picture is one of {', '.join(PICTURE_TYPES)}, "
            f"not {row.picture_mime!r}"
        )
    parts = {"picture": row.picture, "thumbnail": row.thumbnail}
    return "\n".join(
        f'<script type="text/plain" id="{name}-{number}" data-mime="{row.picture_mime}">'
        f"{base64.b64encode(data).decode('ascii')}</script>"
        for name, data in parts.items()
        if data is not None
    )


def _plain(value: Any) -> Any:
    """The value as JSON knows it: nan and infinities are None, NumPy numbers are Python's."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (bool, int)) else str(value)


def _json(value: Any) -> str:
    """JSON in ASCII without <, > and &: it can neither end its script element nor be misread."""
    text = json.dumps(_plain(value), ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _text(value: str) -> str:
    """The value as HTML text; a lone surrogate, which UTF-8 cannot hold, as its escape."""
    return html.escape(value.encode("utf-8", "backslashreplace").decode("utf-8"))


def _part(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
