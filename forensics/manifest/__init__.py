"""Manifests: Parquet with one row per image, from people's files to the frozen copy of a run.

A manifest is a Parquet file, or a folder of them. ``image_id`` (unique) and ``uri`` must be there;
the other columns of ``MANIFEST_SCHEMA`` may be. A relative URI starts at the manifest's folder.
Everything streams: memory does not grow with the number of rows, but for 8 bytes per row where
uniqueness is checked.
"""

from forensics.manifest.columns import MANIFEST_SCHEMA
from forensics.manifest.draw import Drawn, draw
from forensics.manifest.frozen import Freezer, Frozen, ShardReader, freeze
from forensics.manifest.source import batches, ignored_columns, read
from forensics.manifest.writer import GroupedWriter, write_manifest

__all__ = [
    "MANIFEST_SCHEMA",
    "Drawn",
    "Freezer",
    "Frozen",
    "GroupedWriter",
    "ShardReader",
    "batches",
    "draw",
    "freeze",
    "ignored_columns",
    "read",
    "write_manifest",
]
