"""Simulated cameras and forgeries with exact truth: for the demonstration and for tests."""

from forensics.synth.archive import ArchiveSummary, make_archive
from forensics.synth.camera import SimulatedCamera
from forensics.synth.forgeries import Forgery, Kind, forge
from forensics.synth.plan import ArchiveSettings

__all__ = [
    "ArchiveSettings",
    "ArchiveSummary",
    "Forgery",
    "Kind",
    "SimulatedCamera",
    "forge",
    "make_archive",
]
