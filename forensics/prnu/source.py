"""Which camera's fingerprint an image is held against."""

from __future__ import annotations

from forensics.detectors import Subject
from forensics.prnu.camera import CameraSettings, Match, match, rank, too_weak
from forensics.prnu.library import CameraLibrary
from forensics.records import NotApplicable


def source_camera(subject: Subject, library: CameraLibrary, settings: CameraSettings) -> Match:
    """The camera the manifest names, else (or if it is not known) the one the fingerprints name.

    Raises `NotApplicable` where the fingerprint is not found in the image as a whole: all of it
    would look tampered.
    """
    claimed = subject.row.camera_id
    if claimed is None or claimed not in library:  # then the fingerprints have the word
        best = rank(subject, library, settings)[0]
        if settings.over(best) < 1:
            raise NotApplicable(f"no known camera: {too_weak(best, settings)}")
        return best
    entry = library.entry(claimed)
    height, width = subject.image.height, subject.image.width
    if height > entry.height or width > entry.width:
        raise NotApplicable(
            f"{width}x{height} pixels do not fit the fingerprint of {claimed} "
            f"({entry.width}x{entry.height}): resized, rotated, or from another camera"
        )
    best = match(subject, library, [entry])[0]
    if settings.over(best) < 1:
        raise NotApplicable(
            f"the image as a whole lacks the fingerprint of {claimed}: "
            f"{too_weak(best, settings)}; another camera, or resized"
        )
    return best
