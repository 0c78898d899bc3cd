"""Which patches a training gets, from which devices, and where manipulated ones come from."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from forensics.manipulation.operations import Manipulation
from forensics.records import UserError
from forensics.train.manipulation.patches import Patches, Photo, cut, split_devices
from tests.manipulation.textures import texture

BLUR, NOISE = Manipulation("blur", 0.5), Manipulation("noise", 2.0)
BIGGER, SMALLER = Manipulation("resize", 1.5), Manipulation("resize", 0.75)
JPEG = Manipulation("jpeg", 80)


def photo(name: str, device: str = "camera", height: int = 70, width: int = 100) -> Photo:
    planes = [texture(height, width, seed=i + len(name)) for i in range(3)]
    return Photo(name, device, np.stack(planes, 2))


def test_patches_lie_side_by_side_in_the_green_plane_of_every_version() -> None:
    taken = photo("a")
    patches = cut([taken], [BLUR, JPEG], window=32)
    assert patches.pixels.shape == (3 * 6, 32, 32)
    assert patches.labels.tolist() == [0] * 6 + [1] * 6 + [2] * 6
    green = taken.pixels[..., 1]
    for label, plane in enumerate((green, BLUR.apply(green), JPEG.apply(taken.pixels)[..., 1])):
        of_class = patches.pixels[patches.labels == label]
        assert np.array_equal(of_class[0], plane[:32, :32])
        assert np.array_equal(of_class[5], plane[32:64, 64:96])


@pytest.mark.parametrize("scale", [BIGGER, SMALLER])
def test_places_scale_with_a_resized_photo(scale: Manipulation) -> None:
    taken = photo("a", height=96, width=128)
    resized = scale.apply(taken.pixels[..., 1])
    patches = cut([taken], [scale], window=32)
    last = patches.pixels[-1]  # from (64, 96), so its centre was (80, 112)
    centre = np.array([80, 112]) * scale.strength
    corner = np.minimum(np.rint(centre - 16), np.array(resized.shape) - 32).astype(int)
    assert np.array_equal(last, resized[corner[0] :, corner[1] :][:32, :32])


def test_a_draw_depends_on_seed_and_name_and_is_the_same_for_all_classes() -> None:
    first, second = photo("first"), photo("second")
    few = cut([first, second], [NOISE], window=16, per_photo=3, seed=1)
    assert len(few) == 2 * 2 * 3
    other_order = cut([second, first], [NOISE], window=16, per_photo=3, seed=1)
    assert np.array_equal(few.pixels[:6], other_order.pixels[6:])
    noise = few.pixels[3:6].astype(int) - few.pixels[:3]
    assert np.abs(noise).max() < 15
    assert noise.std() == pytest.approx(2.0, rel=0.2)
    another = cut([first, second], [NOISE], window=16, per_photo=3, seed=2)
    assert not np.array_equal(few.pixels, another.pixels)


def test_photos_are_read_one_by_one_and_devices_kept_apart() -> None:
    alive = 0

    def photos() -> Iterator[Photo]:
        nonlocal alive
        for name in ("a", "b", "c"):
            alive += 1
            yield photo(name, device=f"long device name {name}", height=32, width=64)

    patches = cut(photos(), [BLUR], window=32)
    assert alive == 3
    seen = patches.of(["long device name a", "long device name c"])
    assert len(seen) == 8
    assert set(seen.devices) == {"long device name a", "long device name c"}


def test_patches_are_joined_in_order() -> None:
    one, other = (cut([photo(name, device=name)], [BLUR], window=32) for name in ("a", "another"))
    both = Patches.joined([one, other])
    assert np.array_equal(both.pixels, np.concatenate([one.pixels, other.pixels]))
    assert both.labels.tolist() == [*one.labels, *other.labels]
    assert both.devices.tolist() == ["a"] * len(one) + ["another"] * len(other)


def test_black_and_white_patches_are_left_out() -> None:
    taken = photo("a", height=32, width=96)
    taken.pixels[:, :32] = 255
    taken.pixels[:, 32:64] = 0
    assert len(cut([taken], [BLUR], window=32)) == 2
    taken.pixels[:, 64:] = 0
    with pytest.raises(UserError, match="no photo has a usable patch of 32x32 px"):
        cut([taken], [BLUR], window=32)


def test_too_small_photos_are_said_to_be() -> None:
    with pytest.raises(UserError, match="too small for patches of 64 px"):
        cut([photo("a")], [SMALLER], window=64)


def test_devices_are_split_by_the_seed_alone() -> None:
    names = [f"device {i}" for i in range(9)]
    test = split_devices(names * 3, 1 / 3, seed=4)
    assert len(test) == 3
    assert test == split_devices(reversed(names), 1 / 3, seed=4)
    assert len({split_devices(names, 1 / 3, seed) for seed in range(20)}) > 5
    assert len(split_devices(names[:2], 0.01, 0)) == 1
    assert len(split_devices(names[:2], 0.99, 0)) == 1
    with pytest.raises(UserError, match="photos of 1 device cannot be split"):
        split_devices(names[:1], 0.5, 0)
