"""Which predictors a job trains, on which photos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from forensics.prnu.camera_model import WindowModel
from forensics.records import ManifestRow, UserError


@dataclass(frozen=True)
class Training:
    """One predictor of one camera. ``qualities`` are what its photos are compressed to first."""

    camera_id: str
    predictor: str
    window: int | None  # pixels; None: all sizes at once
    qualities: tuple[int | None, ...]  # None: as they are
    rows: tuple[ManifestRow, ...]

    @property
    def jpeg_quality(self) -> int | None:
        """The quality that the predictor is for, None if for a mixture."""
        return self.qualities[0] if len(self.qualities) == 1 else None

    @property
    def name(self) -> str:
        """Such as ``camera-cnn-128-q85``; no two of a job are alike."""
        parts = [self.camera_id, self.predictor]
        if self.window is not None:
            parts.append(str(self.window))
        if len(self.qualities) > 1:
            parts.append("mixed")
        elif self.jpeg_quality is not None:
            parts.append(f"q{self.jpeg_quality}")
        return "-".join(parts)


def plan(
    cameras: Mapping[str, Sequence[ManifestRow]],
    predictor: str,
    window: int | None,
    qualities: Sequence[int],
    mixed: bool,
    images_per_camera: int,
) -> list[Training]:
    """One training per camera and JPEG quality, or one per camera."""
    listed: Sequence[int | None] = sorted(set(qualities), reverse=True)
    groups = [tuple(listed)] if mixed else [(quality,) for quality in listed or [None]]
    return [
        Training(camera_id, predictor, window, group, tuple(spread(rows, images_per_camera)))
        for camera_id, rows in cameras.items()
        for group in groups
    ]


def label(camera_id: str, window: WindowModel) -> str:
    """Names one predictor of a camera, such as ``camera-cnn-128-q85``."""
    quality = "" if window.jpeg_quality is None else f"-q{window.jpeg_quality}"
    return f"{camera_id}-{window.predictor.name}-{window.window}{quality}"


def spread(rows: Sequence[ManifestRow], count: int) -> list[ManifestRow]:
    """So many rows, evenly spread over all: neighbours tend to show one scene."""
    if count >= len(rows):
        return list(rows)
    return [rows[i * len(rows) // count] for i in range(count)]


def of_cameras(
    cameras: Mapping[str, list[ManifestRow]], wanted: Sequence[str] | None
) -> dict[str, list[ManifestRow]]:
    """The cameras asked for. Raises `UserError` for one without images."""
    if wanted is None:
        return dict(cameras)
    if missing := sorted(set(wanted) - set(cameras)):
        raise UserError(
            f"the manifest has no images of {', '.join(missing)}; it has those of "
            f"{', '.join(cameras) or 'no camera'}"
        )
    return {camera_id: cameras[camera_id] for camera_id in cameras if camera_id in wanted}
