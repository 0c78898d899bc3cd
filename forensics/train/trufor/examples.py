"""Images with their masks, read when they are needed."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from forensics.evaluate.scan import read_mask
from forensics.evidence import open_image
from forensics.records import FORGED, PRISTINE, ManifestRow, Rgb, UserError
from forensics.text import visible

Pair = tuple[Rgb, NDArray[np.bool_]]
"""Pixels uint8 (H, W, 3), and bool (H, W), true where forged."""


@dataclass(frozen=True, slots=True)
class Example:
    """An image that may be forged; ``read`` gives its pixels and its mask."""

    image_id: str
    source: str  # data set
    forged: bool
    split: str | None
    read: Callable[[], Pair]


def example_of(row: ManifestRow, max_megapixels: float) -> Example:
    """The example that a row of a manifest names. Nothing is read yet.

    Raises `UserError` for a row that does not say whether and where the image is forged.
    """
    if row.label not in (FORGED, PRISTINE):
        raise UserError(f"has the label {row.label!r}; {FORGED} or {PRISTINE} is needed")
    forged = row.label == FORGED
    if forged and row.mask_uri is None:
        raise UserError("is forged, but has no mask_uri")
    read = partial(read_pair, row, max_megapixels)
    return Example(row.image_id, row.source or "", forged, row.split, read)


def read_pair(row: ManifestRow, max_megapixels: float) -> Pair:
    """Pixels and mask of a row. Raises as `forensics.decode.decode` and `read_mask`."""
    rgb = open_image(row, max_megapixels)[1].pixels
    height, width = rgb.shape[:2]
    if row.label == FORGED and row.mask_uri is not None:
        return rgb, read_mask(row.mask_uri, height, width)
    return rgb, np.zeros((height, width), np.bool_)


class Cache:
    """The pairs that were read last, up to ``gigabytes`` of them. May be used by several threads.

    Read pairs are shared: they must not be changed.
    """

    def __init__(self, gigabytes: float) -> None:
        self._limit = int(gigabytes * 1e9)
        self._held = 0
        self._pairs: OrderedDict[str, Pair] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, example: Example) -> Pair:
        """The example's pair. Raises `UserError`, with the image's name, where it cannot be had."""
        with self._lock:
            if example.image_id in self._pairs:
                self._pairs.move_to_end(example.image_id)
                return self._pairs[example.image_id]
        try:
            pair = example.read()
        except Exception as error:
            raise UserError(f"{visible(example.image_id)}: {error}") from error
        with self._lock:
            if example.image_id not in self._pairs:
                self._pairs[example.image_id] = pair
                self._held += _bytes(pair)
            while self._held > self._limit:
                self._held -= _bytes(self._pairs.popitem(last=False)[1])
        return pair


def _bytes(pair: Pair) -> int:
    return pair[0].nbytes + pair[1].nbytes
