"""What one image may cost."""

from __future__ import annotations

from pydantic import Field

from forensics.config import Settings

GIB = 2**30


class Limits(Settings):
    """Beyond a limit an image is reported, never dropped."""

    max_megapixels: float = Field(200.0, gt=0, description="pixels per image, before decoding")
    timeout_seconds: float = Field(
        900.0,  # trufor takes 480 s for 12 megapixels on one core
        gt=0,
        description="decoding and all detectors, per image",
    )
    memory_gib: float = Field(8.0, gt=0, description="working memory per worker, beside its models")
