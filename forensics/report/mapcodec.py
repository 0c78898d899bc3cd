"""Maps as PNG bytes, the form in which a run stores them.

All but decisions are stored with 8 bit (error at most 1/510) or 16 bit (at most 1/131070), a
decision with 1 bit, exactly. Kind and stride are columns beside the bytes, not in them.
"""

from __future__ import annotations

import io
from typing import Literal

import numpy as np
from PIL import Image, PngImagePlugin

from forensics.records import Map, MapKind


def encode_map(values: Map, bits: Literal[8, 16] = 8) -> bytes:
    """The map's values as PNG; ``bits`` is the depth of all but a decision.

    Raises ValueError where values are not 2-D, not bool for a decision, nan or outside 0..1.
    """
    array = values.values
    if array.ndim != 2 or not array.size:
        raise ValueError(f"a map has shape (rows, columns), got {array.shape}")
    if values.kind == "decision":
        if array.dtype != np.bool_:
            raise ValueError(f"a decision map holds bool, got {array.dtype}")
        picture = Image.fromarray(array)
    else:
        if not bool(((array >= 0) & (array <= 1)).all()):  # false for nan
            raise ValueError(f"a {values.kind} map holds numbers in 0..1; this one has others")
        top, dtype = (255, np.uint8) if bits == 8 else (65535, np.uint16)
        picture = Image.fromarray(np.rint(array.astype(np.float64) * top).astype(dtype))
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()


def decode_map(data: bytes, kind: MapKind, stride: int) -> Map:
    """The map that ``encode_map`` made: bool for a decision, else float32 in 0..1.

    Raises ValueError where the bytes are no such PNG.
    """
    try:
        # Not Image.open: its limit on pixels is for strangers' files, and a decision map of a
        # 200-megapixel image is above it.
        picture = PngImagePlugin.PngImageFile(io.BytesIO(data))
        picture.load()
    except (SyntaxError, OSError) as error:
        raise ValueError(f"a stored {kind} map is no readable PNG: {error}") from error
    modes = {"1"} if kind == "decision" else {"L", "I;16"}
    if picture.mode not in modes:
        raise ValueError(f"a stored {kind} map has PNG mode {picture.mode}, not {sorted(modes)}")
    array = np.asarray(picture)
    if kind == "decision":
        return Map(kind, stride, array.astype(np.bool_))
    top = np.float32(255 if picture.mode == "L" else 65535)
    return Map(kind, stride, array.astype(np.float32) / top)
