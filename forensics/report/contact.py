"""The contact sheet: the worst images of a scan at a glance."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from forensics.records import Rgb
from forensics.report.lettering import FAINT, GROUND, INK, write_line
from forensics.report.pictures import THUMBNAIL

_COLUMNS, _GAP, _TEXT, _LINE = 4, 16, 14, 21


class Frame(NamedTuple):
    """One picture of the sheet and the two lines below it."""

    thumbnail: bytes  # an encoded file
    first: str
    second: str


def contact_sheet(frames: Sequence[Frame]) -> Rgb:
    """Thumbnails in rows of four, in their order; uint8 (h, w, 3). Raises ValueError for none."""
    if not frames:
        raise ValueError("a contact sheet needs at least one picture")
    pictures = [Image.open(io.BytesIO(frame.thumbnail)).convert("RGB") for frame in frames]
    cell = THUMBNAIL
    tops, top = [], _GAP
    for start in range(0, len(pictures), _COLUMNS):
        tops.append(top)
        row = pictures[start : start + _COLUMNS]
        top += max(picture.height for picture in row) + 2 * _LINE + 2 * _GAP
    columns = min(_COLUMNS, len(frames))
    sheet = Image.new("RGB", (_GAP + columns * (cell + _GAP), top), GROUND)
    draw = ImageDraw.Draw(sheet)
    for k, (frame, picture) in enumerate(zip(frames, pictures, strict=True)):
        left, at = _GAP + (k % _COLUMNS) * (cell + _GAP), tops[k // _COLUMNS]
        sheet.paste(picture, (left, at))
        below = at + picture.height + 6
        write_line(draw, (left, below), frame.first, INK, _TEXT, cell)
        write_line(draw, (left, below + _LINE), frame.second, FAINT, _TEXT, cell)
    return np.asarray(sheet)
