"""The columns of a manifest."""

from __future__ import annotations

import pyarrow as pa

MANIFEST_SCHEMA = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("camera_id", pa.string()),
        pa.field("sha256", pa.string()),
        pa.field("size", pa.int64()),
        pa.field("split", pa.string()),
        pa.field("label", pa.string()),
        pa.field("mask_uri", pa.string()),
        pa.field("source", pa.string()),
    ]
)
"""The columns of a frozen manifest, in this order; fields as in ``ManifestRow``."""
