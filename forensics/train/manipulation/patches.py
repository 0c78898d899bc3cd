"""Patches of pristine photos and of the same photos manipulated, by the device that took them."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forensics.manipulation.base import GREEN, SPOILT
from forensics.manipulation.operations import Manipulation
from forensics.records import Rgb, UserError


@dataclass(frozen=True, slots=True, eq=False)
class Photo:
    """A pristine photo. Photos of one device must bear the same name in ``device``."""

    image_id: str
    device: str
    pixels: Rgb


@dataclass(frozen=True, slots=True, eq=False)
class Patches:
    """Green patches and their classes, 0 being pristine."""

    pixels: NDArray[np.uint8]  # (n, window, window)
    labels: NDArray[np.int64]  # (n,)
    devices: NDArray[np.str_]  # (n,)

    def __len__(self) -> int:
        return len(self.labels)

    def of(self, devices: Iterable[str]) -> Patches:
        """Those of the devices named."""
        return self.take(np.flatnonzero(np.isin(self.devices, sorted(devices))))

    def take(self, which: NDArray[np.int64]) -> Patches:
        """Those of these numbers, in their order."""
        return Patches(self.pixels[which], self.labels[which], self.devices[which])

    @staticmethod
    def joined(parts: Sequence[Patches]) -> Patches:
        """All of them, one after the other; of the same window, one part at least."""
        return Patches(
            np.concatenate([part.pixels for part in parts]),
            np.concatenate([part.labels for part in parts]),
            np.concatenate([part.devices for part in parts]),
        )


def split_devices(devices: Iterable[str], held_out: float, seed: int) -> frozenset[str]:
    """The devices to test on: that part of them (0..1), drawn by the seed; at least one.

    Raises `UserError` for fewer than two, as one at least must be left to train on.
    """
    names = sorted(set(devices))
    if len(names) < 2:
        raise UserError(
            f"photos of {len(names)} device{'s'[: len(names) != 1]} cannot be split; training and "
            "testing need photos of different devices"
        )
    count = min(max(round(held_out * len(names)), 1), len(names) - 1)
    drawn = np.random.default_rng(seed).permutation(len(names))[:count]
    return frozenset(names[i] for i in drawn)


def cut(
    photos: Iterable[Photo],
    manipulations: Sequence[Manipulation],
    window: int = 128,
    per_photo: int | None = None,
    seed: int = 0,
) -> Patches:
    """Patches side by side from every photo, and from its manipulated versions at the same places.

    Whole photos are manipulated, so that a patch shows no border; places scale with a photo that
    is resized. The noise and the choice of places depend on the seed and the photo's name alone.
    Places where the photo is mostly black or white are left out. Photos are read one by one.

    Args:
        photos: in any order, their names all different.
        manipulations: classes 1, 2, … in this order.
        window: side of a patch, pixels.
        per_photo: most places from one photo, drawn at random; None: all.
        seed: of noise and places.

    Raises:
        UserError: photos give no patch at all.
    """
    parts = [
        part
        for photo in photos
        for part in _of_photo(photo, manipulations, window, per_photo, seed)
    ]
    if not parts:
        raise UserError(f"no photo has a usable patch of {window}x{window} px")
    return Patches.joined(parts)


def _of_photo(
    photo: Photo,
    manipulations: Sequence[Manipulation],
    window: int,
    per_photo: int | None,
    seed: int,
) -> Iterator[Patches]:
    name = zlib.crc32(photo.image_id.encode())
    places = _places(photo.pixels[..., GREEN], window)
    if per_photo is not None and len(places) > per_photo:
        drawn = np.random.default_rng([seed, name]).permutation(len(places))[:per_photo]
        places = places[np.sort(drawn)]
    if not len(places):
        return
    for label, manipulation in enumerate([None, *manipulations]):
        plane = _green(photo.pixels, manipulation, [seed, name, label])
        pixels = np.stack([_at(plane, place, photo.pixels.shape, window) for place in places])
        yield Patches(
            pixels,
            np.full(len(places), label, np.int64),
            np.array([photo.device] * len(places)),
        )


def _places(green: NDArray[np.uint8], window: int) -> NDArray[np.int64]:
    """(n, 2) corners of the usable patches."""
    found = [
        (y, x)
        for y in range(0, green.shape[0] - window + 1, window)
        for x in range(0, green.shape[1] - window + 1, window)
        if np.isin(green[y : y + window, x : x + window], (0, 255)).mean() < SPOILT
    ]
    return np.array(found, np.int64).reshape(-1, 2)


def _green(rgb: Rgb, manipulation: Manipulation | None, seed: list[int]) -> NDArray[np.uint8]:
    """The green plane of the manipulated photo; only JPEG needs the others for it."""
    if manipulation is None:
        return rgb[..., GREEN]
    if manipulation.kind == "jpeg":
        return manipulation.apply(rgb)[..., GREEN]
    return manipulation.apply(np.ascontiguousarray(rgb[..., GREEN]), seed)


def _at(
    plane: NDArray[np.uint8], place: NDArray[np.int64], whole: tuple[int, ...], window: int
) -> NDArray[np.uint8]:
    """The patch whose centre is where it was, relative to the photo, as far as there is room."""
    corner = []
    for position, before, now in zip(place.tolist(), whole, plane.shape, strict=False):
        if now < window:
            raise UserError(f"a photo resized to {now} px is too small for patches of {window} px")
        centre = (position + window / 2) * now / before
        corner.append(min(max(round(centre - window / 2), 0), now - window))
    y, x = corner
    return plane[y : y + window, x : x + window]
