"""What a detector is, what it is given, and the one table that names them all.

A new detector is a class with the five members of `Detector`, a settings class, one line in
`BUILDERS`, and a section of its name in `scan.ScanSettings`. Report columns, page and contract
tests follow. A detector of somebody else's package needs none of these lines: it is named
``package.module:Class`` in the setting ``detectors``, and gets None for settings.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

import pyarrow as pa
import torch

from forensics.arrays import to_tensor
from forensics.records import Finding, Image, ManifestRow, UserError

if TYPE_CHECKING:
    from forensics.prnu.library import CameraLibrary

T = TypeVar("T")


class Subject:
    """One image under examination. What several detectors need is computed once and kept here."""

    def __init__(self, row: ManifestRow, image: Image, device: torch.device | str = "cpu") -> None:
        self.row = row
        self.image = image
        self.device = torch.device(device)
        self._residuals: dict[tuple[float, int], torch.Tensor] = {}
        self._shared: dict[Hashable, Any] = {}

    @cached_property
    def pixels(self) -> torch.Tensor:
        """uint8 (H, W, 3) on the device."""
        return to_tensor(self.image.pixels).to(self.device)

    def residual(self, sigma: float, levels: int) -> torch.Tensor:
        """Noise residual W, float32 (H, W) on the device."""
        from forensics.prnu.residual import noise_residual

        key = (sigma, levels)
        if key not in self._residuals:
            self._residuals[key] = noise_residual(self.pixels, sigma=sigma, levels=levels)
        return self._residuals[key]

    def shared(self, key: Hashable, compute: Callable[[], T]) -> T:
        """``compute()``, once per key: what one detector has found out, for the others."""
        if key not in self._shared:
            self._shared[key] = compute()
        found: T = self._shared[key]
        return found


class Detector(Protocol):
    """Examines one image. Loaded once per worker, used for many images, never changed by them."""

    name: ClassVar[str]
    columns: ClassVar[Mapping[str, pa.DataType]]
    """Its own report columns, beside status, reason, score and seconds."""

    def examine(self, subject: Subject) -> Finding:
        """Score, columns and maps. Raises `NotApplicable` to abstain; never changes ``subject``."""
        ...

    def identity(self) -> Mapping[str, Any]:
        """What the answers depend on beside settings and code: digests of weights and models."""
        ...

    def bytes_needed(self, height: int, width: int) -> int:
        """Upper estimate of the working memory in bytes for an image of that size (pixels)."""
        ...


@dataclass(frozen=True)
class Resources:
    """What detectors share: where the work runs, and the camera models, loaded once for all."""

    device: torch.device
    library: CameraLibrary | None = None


BUILDERS: dict[str, str] = {
    "camera": "forensics.prnu.camera:CameraDetector",
    "prnu": "forensics.prnu.localization:PrnuDetector",
    "manipulation": "forensics.manipulation.detector:ManipulationDetector",
    "trufor": "forensics.trufor.detector:TruForDetector",
    "origin": "forensics.origin.detector:OriginDetector",
}
"""name -> ``module:class``; the class is called with ``(settings, resources)``."""


def detector_class(name: str) -> type[Detector]:
    """The class behind a name, imported only now. ``module:class`` names one from elsewhere.

    Raises `UserError` for an unknown name.
    """
    place = name if ":" in name else BUILDERS.get(name)
    if place is None:
        raise UserError(f"no detector {name!r}; there are: {', '.join(BUILDERS)}")
    module, _, attribute = place.partition(":")
    found: type[Detector] = getattr(importlib.import_module(module), attribute)
    return found


def columns(names: Sequence[str]) -> dict[str, Mapping[str, pa.DataType]]:
    """Report columns of these detectors, by their own names, for `schema.report_schema`."""
    return {found.name: found.columns for found in map(detector_class, names)}


def build(
    names: Sequence[str], settings: Mapping[str, Any], resources: Resources
) -> list[Detector]:
    """Detectors in the given order, each from its own section of the settings, if it has one."""
    builders: list[Callable[..., Detector]] = [detector_class(name) for name in names]
    return [
        builder(settings.get(name), resources)
        for builder, name in zip(builders, names, strict=True)
    ]
