"""A folder of camera models, one folder each, loaded when needed and kept within a byte budget."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from forensics import storage
from forensics.prnu.camera_model import CARD, CameraModel, read_card
from forensics.records import UserError

BUDGET = 2 * 2**30  # bytes; about 50 fingerprints of 10 megapixels


@dataclass(frozen=True, slots=True)
class CameraEntry:
    """What the card of a camera says, known without loading its fingerprint."""

    camera_id: str
    folder: str  # URI
    height: int
    width: int
    digest: str


class CameraLibrary:
    """The camera models below ``uri``: every folder there that holds a ``card.json``.

    The cards are read at once, the models when asked for. The least recently used models make
    room once they exceed ``budget`` bytes together; one model is always kept.

    Raises `UserError` for a folder without camera models, a damaged card, and two of one camera.
    """

    def __init__(
        self,
        uri: str,
        device: torch.device | str = "cpu",
        budget: int = BUDGET,
    ) -> None:
        self._device = torch.device(device)
        self._budget = budget
        self._models: OrderedDict[str, CameraModel] = OrderedDict()
        self._entries: dict[str, CameraEntry] = {}
        for entry in sorted(self._read_cards(uri), key=lambda e: (e.camera_id, e.folder)):
            if entry.camera_id in self._entries:
                other = self._entries[entry.camera_id].folder
                raise UserError(f"camera {entry.camera_id} is in {other} and in {entry.folder}")
            self._entries[entry.camera_id] = entry
        if not self._entries:
            raise UserError(f"no camera models in {uri}: no folder there holds a {CARD}")

    def __contains__(self, camera_id: object) -> bool:
        return camera_id in self._entries

    def __iter__(self) -> Iterator[CameraEntry]:
        """The entries, in the order of their camera ids."""
        return iter(self._entries.values())

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the digests of all camera models."""
        text = "\n".join(f"{e.camera_id} {e.digest}" for e in self)
        return hashlib.sha256(text.encode()).hexdigest()

    def entry(self, camera_id: str) -> CameraEntry:
        """The entry of a camera; raises `KeyError` where it is unknown."""
        return self._entries[camera_id]

    def model(self, camera_id: str) -> CameraModel:
        """The camera model, its fingerprint on the library's device.

        Raises `KeyError` for an unknown camera, `UserError` for damaged files and a storage error
        where they cannot be had.
        """
        if camera_id not in self._models:
            entry = self._entries[camera_id]
            card = storage.read(storage.join(entry.folder, CARD))
            if read_card(card)["digest"] != entry.digest:
                raise UserError(f"camera {camera_id}: {entry.folder} changed while it was in use")

            def read(name: str) -> bytes:
                return card if name == CARD else storage.read(storage.join(entry.folder, name))

            model = CameraModel.from_files(read)
            fingerprint = model.fingerprint.to(self._device)
            self._models[camera_id] = replace(model, fingerprint=fingerprint)
        self._models.move_to_end(camera_id)
        while len(self._models) > 1 and self._held() > self._budget:
            self._models.popitem(last=False)
        return self._models[camera_id]

    def _held(self) -> int:
        return sum(model.fingerprint.nbytes for model in self._models.values())

    def _read_cards(self, uri: str) -> Iterator[CameraEntry]:
        for found in storage.list(uri):
            folder, _, name = found.name.rpartition("/")
            if name != CARD or not folder or "/" in folder:
                continue
            card = read_card(storage.read(found.uri))
            yield CameraEntry(
                camera_id=card["camera_id"],
                folder=storage.join(uri, folder),
                height=int(card["height"]),
                width=int(card["width"]),
                digest=card["digest"],
            )
