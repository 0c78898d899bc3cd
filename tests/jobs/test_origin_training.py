"""What becomes of an image on its way to an origin network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from forensics.origin.level import LevelSettings, compressed_alike, level
from forensics.origin.patches import PatchSettings
from forensics.records import ManifestRow
from jobs.origin_training.images import ImageSettings, prepared
from tests.origin.networks import CLASSES, of_class

LEVEL = LevelSettings(smallest=40, largest=60)


@pytest.mark.parametrize(
    ("levelling", "quality"), [(None, None), (LEVEL, None), (None, 65), (LEVEL, 65)]
)
def test_images_are_levelled_or_compressed_as_a_scan_does_or_stay(
    tmp_path: Path, levelling: LevelSettings | None, quality: int | None
) -> None:
    rgb = of_class(0, 0)
    Image.fromarray(rgb).save(tmp_path / "a.png")
    row = ManifestRow("a", str(tmp_path / "a.png"), label="npi", source="s")
    settings = ImageSettings(CLASSES, PatchSettings(side=32, count=2), levelling, 0, 1.0, quality)
    image, _ = prepared._function(row, settings)
    if levelling is not None:
        expected = level(rgb, "a", LEVEL)
    else:
        expected = rgb if quality is None else compressed_alike(rgb, quality)
    assert np.array_equal(image.pixels, expected)
