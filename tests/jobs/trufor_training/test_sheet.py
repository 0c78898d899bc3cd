"""The contact sheet: one row per image, one picture per plane."""

from __future__ import annotations

import numpy as np

from jobs.trufor_training.sheet import contact_sheet


def test_every_plane_of_every_image_is_shown() -> None:
    plane = np.linspace(0, 0.5, 64, dtype=np.float32).reshape(8, 8)
    samples = [
        (f"photo {i}", {"image": np.zeros((8, 8, 3), np.uint8), "map": plane, "noiseprint": plane})
        for i in range(2)
    ]
    figure = contact_sheet(samples, "a title")
    shown = [axes.images[0] for axes in figure.axes]
    assert len(shown) == 6
    assert shown[1].get_clim() == (0, 1)
    assert shown[2].get_clim() == (0, 0.5)
    assert [axes.get_title() for axes in figure.axes[3:]] == ["photo 1\nimage", "map", "noiseprint"]
    assert not contact_sheet([], "nothing").axes[0].images
