"""The sheet that a reviewer sees: image and maps side by side, with captions and a legend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw

from forensics.records import Map, Rgb
from forensics.report.boxes import Boxes, draw_boxes
from forensics.report.lettering import FAINT, GROUND, INK, font, write_line
from forensics.report.overlay import OUTLINE, fit, grey, heat_overlay, outline, scale_bar, shrink

FLATTEST = 0.5  # height of the sheet over its width, at most: beside a list, on a landscape screen
SHORTEST = 320  # pixels; narrower, the legend cannot be read
CAPTIONS = {
    "probability": "probability of tampering",
    "confidence": "confidence in the map",
    "decision": "called tampered",
    "noiseprint": "Noiseprint++",
}


def figure(
    rgb: Rgb,
    maps: Mapping[str, Sequence[Map]],
    title: str = "",
    longest: int = 1280,
    boxes: Mapping[str, Boxes] | None = None,
) -> Rgb:
    """Image | one panel per map, with captions, a scale and a legend; uint8 (h, w, 3).

    ``maps``: the maps of each detector by its name, each belonging to ``rgb`` (see ``Map``). A
    decision is drawn as an outline on the other maps of its detector, or on the image if it is the
    detector's only map; a noiseprint is drawn by itself in grey. ``boxes``, by detector, have a
    panel each after the maps. Neither side is longer than ``longest`` pixels (at least 320).
    Pictures are only ever scaled down; panels are arranged to be as large as they can. Raises
    ValueError for a map that does not fit the image.
    """
    if longest < SHORTEST:
        raise ValueError(f"a figure needs a longest side of at least {SHORTEST}, got {longest}")
    voting = boxes or {}
    captions = ["image", *(caption for caption, _, _ in _layers(maps))]
    captions += [f"{name}: votes of its patches" for name in voting]
    text = max(11, longest // 70)
    gap, line = text, round(text * 1.6)
    head, foot = (line if title else 0), round(text * 2.8)
    columns, box_height, box_width = _grid(
        rgb.shape, len(captions), longest, gap, line, head + foot
    )
    panels = _panels(rgb, maps, box_height, box_width)
    panels += [draw_boxes(panels[0], rgb.shape[:2], found) for found in voting.values()]
    height, width = panels[0].shape[:2]
    rows = -(-len(panels) // columns)
    cell = max(width, min(16 * text, box_width))  # room for the caption over a narrow picture

    sheet = Image.new(
        "RGB",
        (
            max(columns * (cell + gap) + gap, min(34 * text, longest)),
            head + rows * (line + height) + (rows + 1) * gap + foot,
        ),
        GROUND,
    )
    draw = ImageDraw.Draw(sheet)
    write_line(draw, (gap, gap // 2), title, INK, text, sheet.width - 2 * gap)
    for k, (panel, caption) in enumerate(zip(panels, captions, strict=True)):
        left = gap + (k % columns) * (cell + gap)
        top = head + gap + (k // columns) * (line + height + gap)
        write_line(draw, (left, top), caption, FAINT, text, cell)
        sheet.paste(Image.fromarray(panel), (left, top + line))
    if len(panels) > 1 + len(voting):
        _legend(sheet, draw, sheet.height - foot, text, any(_decided(m) for m in maps.values()))
    return np.asarray(sheet)


def _layers(
    maps: Mapping[str, Sequence[Map]],
) -> list[tuple[str, Map | None, Map | None]]:
    """Per panel: its caption, the map it shows and the decision drawn as an outline."""
    layers: list[tuple[str, Map | None, Map | None]] = []
    for name, found in maps.items():
        decision = _decided(found)
        heats = [m for m in found if m.kind != "decision"]
        for heat in heats:
            outlined = None if heat.kind == "noiseprint" else decision
            layers.append((f"{name}: {CAPTIONS[heat.kind]}", heat, outlined))
        if decision is not None and not heats:
            layers.append((f"{name}: {CAPTIONS['decision']}", None, decision))
    return layers


def _decided(maps: Sequence[Map]) -> Map | None:
    return next((m for m in maps if m.kind == "decision"), None)


def _panels(
    rgb: Rgb, maps: Mapping[str, Sequence[Map]], box_height: int, box_width: int
) -> list[Rgb]:
    size = rgb.shape[:2]
    small = shrink(rgb, box_height, box_width)
    out = (small.shape[0], small.shape[1])
    panels = [small]
    for _, heat, decision in _layers(maps):
        panel = small if heat is None else _panel(small, fit(heat, size, out))
        panels.append(outline(panel, fit(decision, size, out)) if decision is not None else panel)
    return panels


def _panel(small: Rgb, values: Map) -> Rgb:
    return grey(values) if values.kind == "noiseprint" else heat_overlay(small, values)


def _grid(
    shape: tuple[int, ...], count: int, longest: int, gap: int, line: int, fixed: int
) -> tuple[int, int, int]:
    """Columns, and the height and width that each panel may take, for the largest panels."""

    def box(columns: int) -> tuple[int, int]:
        rows = -(-count // columns)
        height = (round(longest * FLATTEST) - fixed - gap) // rows - gap - line
        return max(1, height), max(1, (longest - gap) // columns - gap)

    def size(columns: int) -> float:
        height, width = box(columns)
        return min(1.0, height / shape[0], width / shape[1])

    best = max(range(count, 0, -1), key=size)  # the most columns among equals
    return (best, *box(best))


def _legend(
    sheet: Image.Image, draw: ImageDraw.ImageDraw, top: int, text: int, outlined: bool
) -> None:
    width, left = min(10 * text, sheet.width // 4), text
    bar = max(4, text // 2)
    sheet.paste(Image.fromarray(scale_bar(width, bar)), (left, top))
    small = max(10, round(text * 0.8))
    for tick in (0, 0.25, 0.5, 0.75, 1):
        x = left + round(tick * (width - 1))
        draw.line((x, top + bar, x, top + bar + 3), fill=FAINT)
        if tick in (0, 0.5, 1):
            draw.text((x, top + bar + 4), f"{tick:g}", FAINT, font(small), anchor="ma")
    x, baseline = left + width + text, top - text // 4
    write_line(draw, (x, baseline), "value of a map", FAINT, text, sheet.width - x - text)
    if outlined:
        x += round(font(text).getlength("value of a map")) + 2 * text
        draw.rectangle((x, baseline, x + text, baseline + text), outline=OUTLINE, width=2)
        x += round(1.6 * text)
        write_line(draw, (x, baseline), CAPTIONS["decision"], FAINT, text, sheet.width - x - text)
