"""What is known of one camera: its fingerprint and, per window size, what to expect of it.

Kept as a folder of files: ``fingerprint-*.safetensors``, ``model-*.safetensors`` and ``card.json``,
which names them with their SHA-256, and the images used. File names follow from their content and
the card is written last, so a model is the old one or the new one, whole, whenever a job is killed.
``accumulator-*.safetensors`` may lie beside them: the sums from which the fingerprint can be
extended; nothing else reads it.
"""

from __future__ import annotations

import hashlib
import json
import platform
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from forensics import __version__
from forensics.arrays import to_tensor
from forensics.prnu.predictors import PREDICTORS, Predictor
from forensics.records import UserError

CARD = "card.json"
_FILE_NAME = re.compile(r"(fingerprint|model|accumulator)-[0-9a-f]{12}\.safetensors")
FORMAT = 1


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file beside the card. Its name follows from its content, so new ones never replace old."""

    name: str
    sha256: str


@dataclass(frozen=True, slots=True)
class UsedImage:
    """An image that went into a camera model."""

    image_id: str
    sha256: str
    size: int  # bytes


@dataclass(frozen=True, slots=True)
class WindowModel:
    """What correlations to expect in square windows of one size.

    ``jpeg_quality`` None means: learned from images as they are, of mixed quality.
    """

    window: int  # side in pixels
    predictor: Predictor
    sigma0: float  # spread of the correlation where the fingerprint is absent
    sigma1: float  # spread of the error of the prediction where it is present
    adjusted_r2: float
    blocks: int
    images: int
    jpeg_quality: int | None = None
    image_gain: bool = True  # sigma1 is the error after the prediction was scaled to each image


@dataclass(frozen=True, slots=True)
class FalseAlarm:
    """What the model wrongly calls tampered in a pristine image that it has not seen."""

    image_id: str
    area: float  # part of the image that is decided at the default threshold, 0..1
    score: float  # 0..1


@dataclass(frozen=True)
class CameraModel:
    """Fingerprint, predictors and spreads of one camera. Without `windows` it only identifies.

    Raises `ValueError` where the fingerprint is not float32 (H, W).
    """

    camera_id: str
    fingerprint: torch.Tensor  # float32 (H, W)
    sigma: float  # settings of the noise residual that the fingerprint belongs to
    levels: int
    reference: tuple[UsedImage, ...]
    training: tuple[UsedImage, ...] = ()
    windows: tuple[WindowModel, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)  # window size -> why it is missing
    false_alarms: tuple[FalseAlarm, ...] = ()  # worst first
    accumulator: StoredFile | None = None  # the sums the fingerprint can be extended from

    def __post_init__(self) -> None:
        object.__setattr__(self, "fingerprint", to_tensor(self.fingerprint))
        if self.fingerprint.ndim != 2 or self.fingerprint.dtype != torch.float32:
            raise ValueError(
                f"a fingerprint is a float32 tensor (H, W), not {self.fingerprint.dtype} "
                f"{tuple(self.fingerprint.shape)}"
            )

    @property
    def height(self) -> int:
        return int(self.fingerprint.shape[0])

    @property
    def width(self) -> int:
        return int(self.fingerprint.shape[1])

    def window(
        self, size: int, jpeg_quality: int | None = None, predictor: str | None = None
    ) -> WindowModel:
        """The model for windows of that side: of the nearest JPEG quality, else of mixed quality.

        Where several are left, the one with the smallest error; ``predictor`` asks for one by its
        name. Raises `UserError` where there is none, naming what there is.
        """
        found = [model for model in self.windows if model.window == size]
        if not found:
            why = self.left_out.get(str(size), "it was not trained")
            sizes = sorted({model.window for model in self.windows})
            have = f"there are {', '.join(map(str, sizes))}" if sizes else "run jobs.camera_model"
            raise UserError(
                f"camera {self.camera_id} has no predictor for windows of {size} px ({why}); {have}"
            )
        named = [model for model in found if predictor in (None, model.predictor.name)]
        if not named:
            names = sorted({model.predictor.name for model in found})
            raise UserError(
                f"camera {self.camera_id} has no {predictor} predictor for windows of {size} px; "
                f"there are {', '.join(names)}; run jobs.train_predictor"
            )

        def distance(model: WindowModel) -> float:
            if model.jpeg_quality is None:
                return 0.5 if jpeg_quality is None else 100.5
            return 101.0 if jpeg_quality is None else abs(model.jpeg_quality - jpeg_quality)

        return min(named, key=lambda model: (distance(model), model.sigma1))

    def sizes(
        self, jpeg_quality: int | None = None, predictor: str | None = None
    ) -> tuple[WindowModel, ...]:
        """The model for every window size that there is, small to large, as `window` picks it.

        Sizes that ``predictor`` was not trained for get the best one they have. Raises `UserError`
        where there is no size at all, or none with that predictor.
        """
        sides = sorted({model.window for model in self.windows})
        named = {model.window for model in self.windows if model.predictor.name == predictor}
        if not sides or (predictor is not None and not named):
            self.window(sides[0] if sides else 128, jpeg_quality, predictor)  # says what is missing
        return tuple(
            self.window(side, jpeg_quality, predictor if side in named else None) for side in sides
        )

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of everything the model holds."""
        digest: str = json.loads(self.to_files()[CARD])["digest"]
        return digest

    def to_files(self, accumulator: bytes | None = None) -> dict[str, bytes]:
        """File name -> content, the card last: written in this order, a folder is always whole.

        ``accumulator``: the sums behind the fingerprint, where they are new.
        """
        contents = {
            "fingerprint": save({"fingerprint": self.fingerprint.contiguous().cpu()}),
            "model": save(
                {
                    f"{index}.{name}": tensor.contiguous()
                    for index, window in enumerate(self.windows)
                    for name, tensor in window.predictor.state().items()
                }
            ),
        }
        card: dict[str, Any] = {
            "format": FORMAT,
            "camera_id": self.camera_id,
            "height": self.height,
            "width": self.width,
            "residual": {"sigma": self.sigma, "levels": self.levels},
            "windows": [_window_card(window) for window in self.windows],
            "left_out": dict(self.left_out),
            "false_alarms": [asdict(alarm) for alarm in self.false_alarms],
            "reference": [asdict(image) for image in self.reference],
            "training": [asdict(image) for image in self.training],
            "files": {role: asdict(_stored(role, data)) for role, data in contents.items()},
        }
        card["digest"] = _card_digest(card)
        card["versions"] = {
            "forensics": __version__,
            "torch": torch.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        }
        sums = self.accumulator
        if accumulator is not None:
            contents["accumulator"] = accumulator
            sums = _stored("accumulator", accumulator)
        card["accumulator"] = asdict(sums) if sums else None
        files = {_stored(role, data).name: data for role, data in contents.items()}
        files[CARD] = json.dumps(card, indent=1, sort_keys=True, allow_nan=False).encode()
        return files

    @classmethod
    def from_files(cls, read: Callable[[str], bytes]) -> CameraModel:
        """The model back from its files; ``read`` gives the content of a file by its name.

        Raises `UserError` for a card of another format and for files that are damaged or belong to
        another model.
        """
        card = read_card(read(CARD))
        try:
            sums = card["accumulator"]
            stored = {role: StoredFile(**entry) for role, entry in card["files"].items()}
            fingerprint = load(read_stored(stored["fingerprint"], read))["fingerprint"]
            tensors = load(read_stored(stored["model"], read))
            windows = tuple(
                _window_model(entry, f"{index}.", tensors)
                for index, entry in enumerate(card["windows"])
            )
            return cls(
                camera_id=card["camera_id"],
                fingerprint=fingerprint,
                sigma=float(card["residual"]["sigma"]),
                levels=int(card["residual"]["levels"]),
                reference=tuple(UsedImage(**entry) for entry in card["reference"]),
                training=tuple(UsedImage(**entry) for entry in card["training"]),
                windows=windows,
                left_out=card["left_out"],
                false_alarms=tuple(FalseAlarm(**entry) for entry in card["false_alarms"]),
                accumulator=StoredFile(**sums) if sums else None,
            )
        except (KeyError, TypeError, ValueError, SafetensorError) as error:
            raise UserError(
                f"camera {card['camera_id']}: the camera model cannot be read: {error!r}"
            ) from None


def read_stored(file: StoredFile, read: Callable[[str], bytes]) -> bytes:
    """Content of a file that a card names. Raises `UserError` where it is not that content."""
    if _FILE_NAME.fullmatch(file.name) is None:
        raise UserError(f"{CARD} names a file {file.name!r}, which is no part of a camera model")
    data = read(file.name)
    if hashlib.sha256(data).hexdigest() != file.sha256:
        raise UserError(
            f"{file.name} is not the file that {CARD} describes (its SHA-256 differs); make the "
            "camera model again"
        )
    return data


def _stored(role: str, data: bytes) -> StoredFile:
    sha256 = hashlib.sha256(data).hexdigest()
    return StoredFile(f"{role}-{sha256[:12]}.safetensors", sha256)


def read_card(data: bytes) -> dict[str, Any]:
    """The card from its bytes, checked for format and integrity. Raises `UserError`."""
    try:
        card = json.loads(data)
        if not isinstance(card, dict) or card.get("format") != FORMAT:
            raise UserError(f"{CARD} is not a camera model card of format {FORMAT}")
        if card["digest"] != _card_digest(card) or not isinstance(card["camera_id"], str):
            raise UserError(
                f"the {CARD} of camera {card['camera_id']} was changed after it was written "
                "(its digest differs); make the camera model again"
            )
    except (ValueError, KeyError) as error:
        raise UserError(f"{CARD} is not a camera model card: {error!r}") from None
    return card


def _card_digest(card: Mapping[str, Any]) -> str:
    content = {k: v for k, v in card.items() if k not in ("digest", "versions", "accumulator")}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _window_card(model: WindowModel) -> dict[str, Any]:
    return {
        "window": model.window,
        "jpeg_quality": model.jpeg_quality,
        "predictor": model.predictor.name,
        "sigma0": model.sigma0,
        "sigma1": model.sigma1,
        "adjusted_r2": model.adjusted_r2,
        "blocks": model.blocks,
        "images": model.images,
        "image_gain": model.image_gain,
    }


def _window_model(
    entry: Mapping[str, Any], prefix: str, tensors: Mapping[str, torch.Tensor]
) -> WindowModel:
    values = dict(entry)
    name = values.pop("predictor")
    if name not in PREDICTORS:
        raise UserError(f"unknown predictor {name!r}; there are: {', '.join(PREDICTORS)}")
    own = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    return WindowModel(predictor=PREDICTORS[name].from_state(own), **values)
