"""One image of a study beside its camera, at any JPEG quality, and the models that judge it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from forensics.arrays import to_tensor
from forensics.detectors import Subject
from forensics.evaluate.study.settings import Variant
from forensics.evidence import open_image
from forensics.localize.signals import Signals
from forensics.prnu.camera import CameraSettings, match, too_weak
from forensics.prnu.camera_model import CameraModel, WindowModel
from forensics.prnu.library import CameraLibrary
from forensics.prnu.recompress import recompress
from forensics.prnu.residual import gray, noise_residual
from forensics.records import ManifestRow, NotApplicable, Status, Unreadable, UserError, explain
from forensics.storage import NotFound


@dataclass(frozen=True, eq=False)
class Case:
    """An image, and where it lies on the sensor of its camera."""

    rgb: torch.Tensor  # uint8 (H, W, 3)
    jpeg_quality: int | None  # of the file
    model: CameraModel
    K: torch.Tensor  # float32 (H, W), the part of the fingerprint under the image
    seen: bool  # the camera model was trained on this very file

    @property
    def height(self) -> int:
        return int(self.K.shape[0])

    @property
    def width(self) -> int:
        return int(self.K.shape[1])

    def signals(self, jpeg_quality: int | None) -> Signals:
        """What every strategy starts from, of the image as it is or recompressed."""
        rgb = self.rgb
        if jpeg_quality is not None:
            rgb = to_tensor(recompress(rgb.cpu().numpy(), jpeg_quality)).to(rgb.device)
        residual = noise_residual(rgb, sigma=self.model.sigma, levels=self.model.levels)
        return Signals(rgb=rgb, W=residual, Z=self.K * gray(rgb))

    def models(self, variant: Variant) -> tuple[WindowModel, ...]:
        """The model for every window size that the variant asks for, small to large.

        Not retrained: those of mixed quality alone. Retrained: those of the variant's quality, and
        where a size has none, of mixed quality; an image as it is gets those nearest to its file.
        Sizes without the variant's predictor get the best one they have. Raises `NotApplicable`
        where the predictor was not trained so at any size.
        """
        named = None if variant.predictor == "best" else variant.predictor
        quality = variant.jpeg_quality if variant.retrained else None
        if variant.retrained and quality is None and self.jpeg_quality is not None:
            return _sizes(self.model, self.jpeg_quality, named)
        exact = [m for m in self.model.windows if m.jpeg_quality == quality]
        if not any(named in (None, m.predictor.name) for m in exact):
            what = f"{named or 'any'} predictor"
            how = "of mixed JPEG quality" if quality is None else f"for JPEG quality {quality}"
            raise NotApplicable(f"camera {self.model.camera_id} has no {what} {how}")
        sides = {m.window for m in exact}
        mixed = [m for m in self.model.windows if m.jpeg_quality is None and m.window not in sides]
        return _sizes(replace(self.model, windows=(*exact, *mixed)), quality, named)

    def window(self, variant: Variant, size: int) -> WindowModel:
        """The model for windows of that size. Raises `NotApplicable` where there is none."""
        for model in self.models(variant):
            if model.window == size and variant.predictor in ("best", model.predictor.name):
                return model
        raise NotApplicable(
            f"camera {self.model.camera_id} has no {variant.predictor} predictor for windows of "
            f"{size} px"
        )


def open_case(
    row: ManifestRow,
    library: CameraLibrary,
    device: torch.device | str = "cpu",
    max_megapixels: float = 200.0,
) -> Case:
    """Fetch and decode an image and find its place on the sensor of the camera that the row names.

    An image smaller than the fingerprint is searched for in it. Raises `NotApplicable` where the
    row names no known camera, or the image does not fit its sensor or is part of the fingerprint;
    `Unreadable`, `UserError` or a storage error where the file is at fault.
    """
    if row.camera_id is None:
        raise NotApplicable("the manifest names no camera")
    if row.camera_id not in library:
        raise NotApplicable(f"no camera model of {row.camera_id}")
    evidence, image = open_image(row, max_megapixels)
    entry = library.entry(row.camera_id)
    if image.height > entry.height or image.width > entry.width:
        raise NotApplicable(
            f"{image.width}x{image.height} pixels do not fit the fingerprint of {row.camera_id} "
            f"({entry.width}x{entry.height}): resized, rotated, or from another camera"
        )
    model = library.model(row.camera_id)
    if evidence.sha256 in {used.sha256 for used in model.reference}:
        raise NotApplicable("its noise is part of the fingerprint")
    top = left = 0
    subject = Subject(row, image, device)
    if (image.height, image.width) != (entry.height, entry.width):
        settings = CameraSettings()
        found = match(subject, library, [entry])[0]
        if settings.over(found) < 1:
            raise NotApplicable(f"not found on the sensor: {too_weak(found, settings)}")
        top, left = found.offset_y, found.offset_x
    return Case(
        rgb=subject.pixels,
        jpeg_quality=image.jpeg_quality,
        model=model,
        K=model.fingerprint[top : top + image.height, left : left + image.width],
        seen=evidence.sha256 in {used.sha256 for used in model.training},
    )


def status_of(error: Exception) -> tuple[Status, str]:
    """Status and reason of an image that a study could not judge."""
    if isinstance(error, NotApplicable):
        return Status.NOT_APPLICABLE, explain(error)
    unreadable = isinstance(error, Unreadable | NotFound)
    return Status.UNREADABLE if unreadable else Status.FAILED, explain(error)


def _sizes(model: CameraModel, quality: int | None, named: str | None) -> tuple[WindowModel, ...]:
    try:
        return model.sizes(quality, named)
    except UserError as error:
        raise NotApplicable(str(error)) from None
