"""Images of known origin for the training tests."""

from __future__ import annotations

from forensics.origin.patches import PatchSettings
from forensics.train.origin.images import OriginImage, prepare
from tests.origin.networks import SIDE, of_class

PATCHES = PatchSettings(side=SIDE, count=3, candidates=4)


def images(per_class: int, first: int = 0) -> list[OriginImage]:
    return [
        prepare(
            f"{label}-{k}",
            f"s{label}{k % 2}",
            label,
            of_class(label, first + k),
            PATCHES,
        )
        for label in range(3)
        for k in range(per_class)
    ]
