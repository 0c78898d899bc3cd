"""Settings of a scan, and the Scanner: one manifest row in, exactly one report row out."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from pydantic import Field

from forensics import storage
from forensics.config import Settings
from forensics.decode import decode
from forensics.detectors import Detector, Resources, Subject, build
from forensics.evidence import changed, fetch
from forensics.limits import GIB, Limits
from forensics.manipulation.detector import ManipulationSettings
from forensics.origin.detector import OriginSettings
from forensics.prnu.camera import CameraSettings
from forensics.prnu.library import CameraLibrary
from forensics.prnu.localization import PrnuSettings
from forensics.records import (
    Evidence,
    Finding,
    Image,
    ManifestRow,
    NotApplicable,
    ReportRow,
    Status,
    Unreadable,
    explain,
)
from forensics.trufor.detector import TruForDetectorSettings


class ScanSettings(Settings):
    """Everything that the answers of a scan depend on, beside the manifest's content."""

    camera_models: str | None = Field(None, description="URI of the folder of camera models")
    detectors: tuple[str, ...] = Field(("camera", "prnu"), description="detectors to run, in order")
    camera: CameraSettings = CameraSettings()
    prnu: PrnuSettings = PrnuSettings()
    manipulation: ManipulationSettings = ManipulationSettings()
    trufor: TruForDetectorSettings = TruForDetectorSettings()
    origin: OriginSettings = OriginSettings()
    limits: Limits = Limits()
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="auto takes CUDA if it is there"
    )
    threads_per_worker: int = Field(1, ge=1, description="CPU threads of one worker")


class Scanner:
    """Holds the loaded detectors and examines images one at a time.

    `examine` never raises on account of the image: what goes wrong with one image becomes that
    image's row. `fetch` raises `Unreadable` or a storage error, which `answer` turns into a row.
    """

    def __init__(self, settings: ScanSettings) -> None:
        torch.set_num_threads(settings.threads_per_worker)
        self._limits = settings.limits
        self._device = torch.device(_device(settings.device))
        self._detectors = build_detectors(settings, self._device)

    def answer(self, row: ManifestRow) -> ReportRow:
        """Fetch and examine in one go."""
        try:
            evidence = fetch(row)
        except Exception as error:
            return unfetched(row, error)
        return self.examine(row, evidence)

    def examine(self, row: ManifestRow, evidence: Evidence) -> ReportRow:
        """Decode and run every detector; each has its own status inside the row."""
        start = time.perf_counter()
        found: dict[str, Any] = {"sha256": evidence.sha256, "size": len(evidence.data)}
        if reason := changed(row, evidence):
            return ReportRow(row, Status.FAILED, reason, **found)
        try:
            image = decode(evidence.data, max_megapixels=self._limits.max_megapixels)
        except Unreadable as error:
            return ReportRow(row, Status.UNREADABLE, explain(error), **found)
        except Exception as error:
            return ReportRow(row, Status.FAILED, f"decoding: {explain(error)}", **found)
        subject = Subject(row, image, self._device)
        findings = {detector.name: self._ask(detector, subject) for detector in self._detectors}
        status, reason = summarise(findings)
        return ReportRow(
            row,
            status,
            reason,
            **found,
            width=image.width,
            height=image.height,
            format=image.format,
            bit_depth=image.bit_depth,
            jpeg_quality=image.jpeg_quality,
            orientation=image.orientation,
            findings=findings,
            seconds=time.perf_counter() - start,
        )

    def _ask(self, detector: Detector, subject: Subject) -> Finding:
        start = time.perf_counter()
        try:
            self._check_memory(detector, subject.image)
            finding = detector.examine(subject)
        except NotApplicable as abstention:
            finding = Finding(Status.NOT_APPLICABLE, explain(abstention))
        except Exception as error:
            finding = Finding(Status.FAILED, explain(error))
        return Finding(
            finding.status,
            finding.reason,
            finding.score,
            finding.values,
            finding.maps,
            seconds=time.perf_counter() - start,
        )

    def _check_memory(self, detector: Detector, image: Image) -> None:
        needed = detector.bytes_needed(image.height, image.width) / GIB
        if needed > self._limits.memory_gib:
            raise MemoryError(
                f"{image.width}x{image.height} pixels need about {needed:.1f} GiB, the limit is "
                f"{self._limits.memory_gib:g} GiB (setting limits.memory_gib)"
            )


def build_detectors(settings: ScanSettings, device: torch.device) -> list[Detector]:
    """The detectors of a scan, loaded."""
    sections = {name: getattr(settings, name, None) for name in settings.detectors}
    library = CameraLibrary(settings.camera_models, device) if settings.camera_models else None
    return build(settings.detectors, sections, Resources(device, library))


def unfetched(row: ManifestRow, error: Exception) -> ReportRow:
    """The row of an image whose bytes could not be had.

    ``failed`` where the store refuses or fails: that is mended, and ``--retry status=failed`` asks
    again. ``unreadable`` where there is no such file.
    """
    gone = isinstance(error, storage.NotFound)
    return ReportRow(row, Status.UNREADABLE if gone else Status.FAILED, explain(error))


def summarise(findings: Mapping[str, Finding]) -> tuple[Status, str | None]:
    """Status and reason of a row from those of its detectors.

    A failed detector fails the row, so that ``--retry status=failed`` finds it; a row is
    ``not_applicable`` only if every detector abstained.
    """
    failed = [name for name, f in findings.items() if f.status is Status.FAILED]
    if failed:
        return Status.FAILED, _reasons(findings, failed)
    if any(f.status is Status.OK for f in findings.values()):
        return Status.OK, None
    return Status.NOT_APPLICABLE, _reasons(findings, list(findings))


def _reasons(findings: Mapping[str, Finding], names: Sequence[str]) -> str:
    return "; ".join(f"{name}: {findings[name].reason}" for name in names)


def _device(wanted: str) -> str:
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return wanted


def identities(detectors: Sequence[Detector]) -> dict[str, Any]:
    """What the loaded detectors depend on, by name: goes into the run's digest."""
    return {detector.name: dict(detector.identity()) for detector in detectors}
