"""The public face of TruFor: weights in, maps out."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Generic

import torch

from forensics import storage
from forensics.arrays import Array, like, to_tensor
from forensics.records import UserError
from forensics.trufor.checkpoint import load_network
from forensics.trufor.inference import Engine, Precision
from forensics.trufor.model import TruForNetwork


@dataclass(frozen=True)
class Prediction(Generic[Array]):
    """What TruFor says of one image; arrays are float32 (H, W)."""

    map: Array
    """Probability that the pixel is forged, 0..1."""
    confidence: Array
    """How far ``map`` can be trusted there, 0..1."""
    score: float
    """Whether the image is forged, 0..1."""
    noiseprint: Array
    """Noiseprint++: traces of camera and processing, around 0 and of no fixed range."""


class TruFor:
    """Where an image deviates from itself, how sure that is, and whether it is forged.

    Guillaro et al. 2023, "TruFor: Leveraging all-round clues for trustworthy image forgery
    detection and localization", arXiv:2212.10957. Gives the published code's numbers for its
    checkpoint to 1e-3 in ``float32``, for images of any size from `min_side` on. ``bfloat16`` and
    ``float16`` are faster where the processor has units for them, and deviate (see the card).
    """

    def __init__(
        self,
        network: TruForNetwork,
        device: torch.device | str = "cpu",
        precision: Precision = "float32",
        digest: str | None = None,
    ) -> None:
        self.device = torch.device(device)
        self.digest = digest
        """SHA-256 of the file the weights came from."""
        self._engine = Engine(network.to(self.device), precision)

    @classmethod
    def from_checkpoint(
        cls, uri: str, device: torch.device | str = "cpu", precision: Precision = "float32"
    ) -> TruFor:
        """Weights from a local path or ``s3://`` URI: ``trufor.pth.tar`` as published, or ours.

        What the MLflow registry holds (``models:/name/version``) is copied to a file by
        ``jobs.weights.checkpoint``. Raises `UserError` for a file that is not a complete set of
        weights, and `StorageError`.
        """
        uri = str(uri)
        if uri.startswith("models:/"):
            raise UserError(
                f"{uri} is in the MLflow registry, which the library does not read; "
                f'jobs.weights.checkpoint("{uri}", folder) copies it to a file and returns its path'
            )
        return cls.from_bytes(storage.read(uri), device, precision, where=uri)

    @classmethod
    def from_bytes(
        cls,
        data: bytes,
        device: torch.device | str = "cpu",
        precision: Precision = "float32",
        where: str = "checkpoint",
    ) -> TruFor:
        """The same from a file's content; errors name it by ``where``."""
        digest = hashlib.sha256(data).hexdigest()
        return cls(load_network(data, where), device, precision, digest)

    @property
    def min_side(self) -> int:
        """Pixels that the smaller side of an image must have: below, attention has no keys."""
        return self._engine.min_side

    def predict(self, rgb: Array) -> Prediction[Array]:
        """Examine a uint8 (H, W, 3) image, array or tensor; arrays out are of the same kind.

        Raises ValueError for another shape or type, or an image smaller than `min_side`.
        """
        pixels = to_tensor(rgb)
        if pixels.dtype != torch.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
            raise ValueError(
                f"an image is uint8 (H, W, 3), not {pixels.dtype} {tuple(pixels.shape)}"
            )
        if min(pixels.shape[:2]) < self.min_side:
            raise ValueError(
                f"{pixels.shape[1]}x{pixels.shape[0]} pixels: TruFor needs {self.min_side} a side"
            )
        out = self._engine(pixels.to(self.device))

        def given(x: torch.Tensor) -> Array:
            return like(rgb, x.to(torch.float32).to(pixels.device))

        return Prediction(
            map=given(out.logits[0].softmax(dim=0)[1]),
            confidence=given(out.confidence[0, 0].sigmoid()),
            score=float(out.score.sigmoid()),
            noiseprint=given(out.noiseprint[0, 0]),
        )
