"""What is learned from an image depends on its name and the seed."""

from __future__ import annotations

import numpy as np
import pytest

from forensics.records import NotApplicable
from forensics.train.origin.images import prepare
from tests.origin.networks import of_class
from tests.train.origin.made import PATCHES


def test_patches_are_drawn_by_the_name_of_the_image() -> None:
    rgb = of_class(0, 0)
    image = prepare("a", "s", 2, rgb, PATCHES)
    assert image.pixels is rgb
    assert image.patches(32).shape == (3, 32, 32, 3)
    assert (image.image_id, image.source, image.label) == ("a", "s", 2)
    assert np.array_equal(prepare("a", "t", 1, rgb, PATCHES).corners, image.corners)
    assert not np.array_equal(prepare("b", "s", 2, rgb, PATCHES).corners, image.corners)
    assert not np.array_equal(prepare("a", "s", 2, rgb, PATCHES, 1).corners, image.corners)
    with pytest.raises(NotApplicable, match="hold no patch of 32 pixels"):
        prepare("a", "s", 2, rgb[:31], PATCHES)
