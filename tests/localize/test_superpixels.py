"""Superpixels: how many, of what cells, and that they keep to the borders of the content."""

from __future__ import annotations

import pytest
import torch

from forensics.localize.superpixels import (
    MAX_CELLS,
    segment_counts,
    superpixel_scales,
    superpixels,
)

SIDES = (32, 48, 64, 96, 128, 192, 256)


def noise(height: int, width: int, spread: float, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    around = 120 + spread * torch.randn(height, width, 3, generator=generator)
    return around.clamp(0, 255).to(torch.uint8)


def disk(height: int, width: int) -> torch.Tensor:
    """Where the coloured disk of `scene` is."""
    y, x = torch.arange(height)[:, None], torch.arange(width)
    return (y - 0.45 * height) ** 2 + (x - 0.55 * width) ** 2 < (0.3 * height) ** 2


def scene(height: int, width: int) -> torch.Tensor:
    rgb = noise(height, width, 4)
    rgb[disk(height, width)] += torch.tensor([60, 20, 0], dtype=torch.uint8)
    return rgb


def test_counts_of_the_paper() -> None:
    assert segment_counts(1080, 1920, SIDES) == [2025, 900, 506, 225, 127, 56, 32]
    assert segment_counts(20, 30, (32, 256)) == [1, 1]


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (2, 3), (7, 211), (65, 43)])
@pytest.mark.parametrize("spread", [0.0, 20.0])
@pytest.mark.parametrize("count", [1, 5, 60, 20000])
def test_every_image_has_labels_without_gaps(
    shape: tuple[int, int], spread: float, count: int
) -> None:
    found = superpixels(noise(*shape, spread), count)
    assert found.labels.dtype == torch.int32
    assert found.labels.shape == shape
    assert found.cell == 1
    assert found.labels.unique().tolist() == list(range(found.count))
    assert found.count == 1 or count > 1


@pytest.mark.parametrize("colour", [0, 255])
def test_a_constant_image_is_cut_into_equal_parts(colour: int) -> None:
    found = superpixels(torch.full((120, 160, 3), colour, dtype=torch.uint8), 48)
    pixels = found.labels.flatten().bincount()
    assert found.count == 48
    assert pixels.min() > 0.7 * 400
    assert pixels.max() < 1.3 * 400


def test_they_keep_to_the_border_of_an_object() -> None:
    """A superpixel has nearly all its pixels on one side, where squares have not."""
    inside = disk(200, 260)
    labels = superpixels(scene(200, 260), 50).labels.flatten().long()
    pixels = labels.bincount().double()
    part = torch.zeros_like(pixels).scatter_add_(0, labels, inside.flatten().double()) / pixels
    wrong = (torch.minimum(part, 1 - part) * pixels).sum()
    assert wrong < 0.01 * inside.sum()


def test_large_images_have_larger_cells_that_carry_to_every_pixel() -> None:
    height, width = 699, 803
    rgb, inside = scene(height, width), disk(height, width)
    fine, coarse = superpixel_scales(rgb, segment_counts(height, width, (15, 64)))
    assert (fine.cell, coarse.cell) == (1, 4)
    assert coarse.labels.shape == (175, 201)
    everywhere = coarse.at(1)
    blown_up = coarse.labels.repeat_interleave(4, 0).repeat_interleave(4, 1)[:height, :width]
    assert torch.equal(everywhere, blown_up.long())
    rows = [*range(4, height, 8), height - 1]  # the centre of the last cell is moved inside
    assert torch.equal(coarse.at(8), everywhere[rows][:, [*range(4, width, 8), width - 1]])
    share = torch.zeros(coarse.count).scatter_add_(0, everywhere.flatten(), inside.flatten() * 1.0)
    decided = (share / everywhere.flatten().bincount() > 0.5)[everywhere]
    assert (decided != inside).sum() < 0.03 * inside.sum()


def test_never_more_cells_than_allowed() -> None:
    found = superpixels(torch.zeros(1, MAX_CELLS + 1, 3, dtype=torch.uint8), 3000)
    assert found.cell == 2
    assert found.labels.shape == (1, MAX_CELLS // 2 + 1)


def test_noise_does_not_merge_them_into_one() -> None:
    """SLIC alone gives a single superpixel here."""
    assert superpixels(noise(200, 250, 60), 60).count >= 30


def test_several_scales_are_each_alone() -> None:
    rgb = scene(120, 150)
    together = superpixel_scales(rgb, [30, 5, 80])
    for count, found in zip([30, 5, 80], together, strict=True):
        assert torch.equal(found.labels, superpixels(rgb, count).labels)


@pytest.mark.parametrize("shape", [(0, 5, 3), (5, 5), (5, 5, 4)])
def test_what_is_no_picture(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="superpixels need"):
        superpixels(torch.zeros(shape, dtype=torch.uint8), 4)


def test_no_superpixels() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        superpixels(scene(20, 20), 0)
