"""The bytes that a manifest row names: fetched, hashed, and held against what the manifest says."""

from __future__ import annotations

import hashlib

from forensics import storage
from forensics.decode import decode
from forensics.records import Evidence, Image, ManifestRow, UserError


def fetch(row: ManifestRow) -> Evidence:
    """The bytes behind a row, hashed before anything decodes them. Raises storage errors."""
    data = storage.read(row.uri)
    return Evidence(data, hashlib.sha256(data).hexdigest())


def changed(row: ManifestRow, evidence: Evidence) -> str | None:
    """Why these are not the bytes that the row was written for; None where nothing says so."""
    if row.sha256 is None or row.sha256.lower() == evidence.sha256:
        return None
    return f"the file has changed: the manifest gives SHA-256 {row.sha256}"


def open_image(row: ManifestRow, max_megapixels: float) -> tuple[Evidence, Image]:
    """Bytes and pixels of the image that a row names.

    Raises `UserError` for a file that has changed, storage errors, and as `decode`.
    """
    evidence = fetch(row)
    if reason := changed(row, evidence):
        raise UserError(reason)
    return evidence, decode(evidence.data, max_megapixels=max_megapixels)
