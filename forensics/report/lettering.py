"""Text on pictures. It comes from outside: it can neither move nor stop the drawing."""

from __future__ import annotations

from bisect import bisect_left
from functools import cache
from pathlib import Path

import matplotlib
from PIL import ImageDraw, ImageFont

GROUND, INK, FAINT = (22, 25, 29), (232, 234, 237), (160, 166, 174)


@cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """The one typeface, which comes with matplotlib."""
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    return ImageFont.truetype(str(path), size)


def drawable(words: str) -> str:
    """The text with a mark for line breaks, lone surrogates and all else that has no shape."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in words)


def write_line(
    draw: ImageDraw.ImageDraw,
    at: tuple[int, int],
    words: str,
    colour: tuple[int, int, int],
    size: int,
    width: int,
) -> None:
    """One line of text, cut with an ellipsis where it is wider than ``width`` pixels."""
    words, letters = drawable(words)[:width], font(size)  # a character is at least a pixel wide
    if letters.getlength(words) > width:
        fitting = bisect_left(
            range(1, len(words) + 1),
            True,
            key=lambda n: letters.getlength(words[:n] + "…") > width,
        )
        words = words[:fitting] + "…"
    draw.text(at, words, colour, letters)
