"""Boxes that vote, drawn on the image in the colour of what each is for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from forensics.records import Rgb
from forensics.report.lettering import GROUND, INK, drawable, font

COLUMN = "boxes"
"""Report column of a detector that says where its votes are from; beside it ``votes``, the table.
Drawn on the page, where a list of them would say nothing."""

COLOURS = (
    (235, 64, 52), (66, 135, 245), (52, 199, 89), (255, 159, 10), (191, 90, 242), (100, 210, 255),
    (255, 214, 10), (255, 105, 180),
)  # fmt: skip
"""Of the classes in their order; of three classes as in the paper on the origin of images."""


@dataclass(frozen=True, slots=True, eq=False)
class Boxes:
    """Parts of an image and what each votes for."""

    labels: tuple[str, ...]
    table: tuple[int, ...]  # votes for each label
    places: NDArray[np.int64]  # (n, 4) left, top, width, height in pixels
    votes: NDArray[np.int64]  # (n,) number of the label

    @classmethod
    def of(cls, finding: Mapping[str, Any] | None) -> Boxes | None:
        """Those of a detector's columns, if it has any."""
        if not finding or not finding.get(COLUMN) or not finding.get("votes"):
            return None
        parts = finding[COLUMN]
        places = [[p["left"], p["top"], p["width"], p["height"]] for p in parts]
        return cls(
            tuple(str(row["label"]) for row in finding["votes"]),
            tuple(int(row["patches"]) for row in finding["votes"]),
            np.array(places, np.int64),
            np.array([p["vote"] for p in parts], np.int64),
        )


def draw_boxes(rgb: Rgb, size: tuple[int, ...], boxes: Boxes) -> Rgb:
    """The picture with outlines of the boxes and the voting table in its corner (Fig. 4).

    Args:
        rgb: uint8 (h, w, 3), the image or the image made smaller.
        size: (H, W) of the image that the boxes are of.
        boxes: in pixels of the image; colours repeat after the eighth label.
    """
    picture = Image.fromarray(rgb)
    draw = ImageDraw.Draw(picture)
    scale = np.array([picture.width / size[1], picture.height / size[0]])
    line = max(1, round(min(rgb.shape[:2]) / 250))
    for place, vote in zip(boxes.places, boxes.votes.tolist(), strict=True):
        first = np.floor(place[:2] * scale)
        last = np.maximum(np.ceil((place[:2] + place[2:]) * scale) - 1, first)
        colour = COLOURS[vote % len(COLOURS)]
        draw.rectangle((*first.tolist(), *last.tolist()), outline=colour, width=line)
    _table(draw, boxes, max(9, min(20, rgb.shape[0] // 24)))
    return np.asarray(picture)


def _table(draw: ImageDraw.ImageDraw, boxes: Boxes, text: int) -> None:
    letters, step = font(text), round(1.35 * text)
    named = [f"{label[:32]} {n}" for label, n in zip(boxes.labels, boxes.table, strict=True)]
    words = [drawable(name) for name in named]
    width = max(letters.getlength(word) for word in words) + 2.2 * text
    draw.rectangle((0, 0, width, step * len(words) + text // 2), fill=GROUND)
    for k, word in enumerate(words):
        top, colour = text // 3 + k * step, COLOURS[k % len(COLOURS)]
        draw.rectangle((text // 2, top, text // 2 + text, top + text), fill=colour)
        draw.text((2 * text, top), word, INK, letters, anchor="lt")
