"""Which photo is on which side of the split, and which others its splices take from."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from forensics.records import ManifestRow

_CANDIDATES = 32  # photos that a donor is chosen from


@dataclass(frozen=True)
class Order:
    """One photo, those that its splices take from, and the side of the split they are all on."""

    row: ManifestRow
    donors: tuple[ManifestRow, ...]  # one per splice
    split: str


def orders_of(
    rows: Sequence[ManifestRow], validation: float, least: int, per_photo: int, seed: int
) -> list[Order]:
    """Each photo, by its name, with its side and ``per_photo`` donors of that side.

    Of some photos drawn at random a donor is the first of another camera, if there is one; where a
    photo is alone on its side there are no donors.

    Args:
        rows: the photos.
        validation: part of them for validation.
        least: photos on either side; there are twice as many or more.
        per_photo: donors of each.
        seed: of the donors. It changes no side: jobs with different seeds may be put together.
    """
    rng = np.random.default_rng(seed)
    held_out = _held_out([row.image_id for row in rows], validation, least)
    sides: dict[str, list[ManifestRow]] = {"training": [], "validation": []}
    for row in rows:
        sides["validation" if row.image_id in held_out else "training"].append(row)
    orders = []
    for side, members in sides.items():
        for row in members:
            others = [other for other in members if other is not row]
            donors = tuple(_donor(row, others, rng) for _ in range(per_photo)) if others else ()
            orders.append(Order(row, donors, side))
    return sorted(orders, key=lambda order: order.row.image_id)


def _donor(
    row: ManifestRow, others: Sequence[ManifestRow], rng: np.random.Generator
) -> ManifestRow:
    drawn: list[ManifestRow] = [others[i] for i in rng.integers(len(others), size=_CANDIDATES)]
    return next((other for other in drawn if other.camera_id != row.camera_id), drawn[0])


def _held_out(names: Sequence[str], share: float, least: int) -> frozenset[str]:
    """The photos for validation, ``least`` on both sides.

    Each by its own name, so that other seeds, and more photos, leave it where it is.
    """
    places = {name: hashlib.sha256(name.encode()).digest() for name in names}
    count = sum(int.from_bytes(place[:8]) < share * 2**64 for place in places.values())
    count = min(max(count, least), len(names) - least)
    return frozenset(sorted(names, key=places.__getitem__)[:count])
