"""The descriptor against a count by hand, its symmetries, and dense against patch by patch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image as PilImage

from forensics.manipulation.descriptor import (
    BINS,
    HALF,
    dense_cooccurrences,
    dense_histogram,
    frequencies,
    srm_histogram,
)
from forensics.manipulation.windows import Axis


def by_hand(patch: NDArray[np.uint8]) -> NDArray[np.int64]:
    """The definition, one code at a time."""
    counts = np.zeros(BINS, np.int64)
    for image in (patch.astype(int), patch.astype(int).T):
        height, width = image.shape
        residual = np.array(
            [
                [
                    image[y, x] - 3 * image[y, x + 1] + 3 * image[y, x + 2] - image[y, x + 3]
                    for x in range(width - 3)
                ]
                for y in range(height)
            ]
        )
        level = np.clip(np.round(residual / 4.5), -1, 1).astype(int) + 1
        for y in range(height):
            for x in range(width - 3):
                if y + 3 < height:
                    digits = [level[y + i, x] for i in range(4)]
                    counts[int("".join(map(str, digits)), 3)] += 1
                if x + 6 < width:
                    digits = [level[y, x + i] for i in range(4)]
                    counts[HALF + int("".join(map(str, digits)), 3)] += 1
    return counts


def soft_texture(*shape: int) -> NDArray[np.uint8]:
    """Neighbours that differ by little, so that all levels occur."""
    rng = np.random.default_rng(sum(shape))
    steps = rng.integers(-2, 3, shape).cumsum(-1) + rng.integers(-1, 2, shape)
    return np.clip(128 + steps, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("shape", [(7, 7), (12, 9), (20, 31)])
def test_counts_are_those_of_the_definition(shape: tuple[int, int]) -> None:
    patch = soft_texture(*shape)
    counts = srm_histogram(patch)
    assert counts.dtype == np.int64
    assert np.array_equal(counts, by_hand(patch))
    height, width = shape
    assert counts[:HALF].sum() == 2 * (height - 3) * (width - 3)
    assert counts[HALF:].sum() == height * (width - 6) + width * (height - 6)


def test_a_batch_is_its_patches_and_tensors_stay_tensors() -> None:
    batch = soft_texture(2, 3, 16, 18)
    counts = srm_histogram(batch)
    assert counts.shape == (2, 3, BINS)
    assert np.array_equal(counts[1, 2], srm_histogram(batch[1, 2]))
    tensor = srm_histogram(torch.from_numpy(batch))
    assert isinstance(tensor, torch.Tensor)
    assert np.array_equal(tensor.numpy(), counts)


def test_the_transpose_has_the_same_histogram_and_a_plain_patch_one_code() -> None:
    patch = soft_texture(40, 40)
    assert np.array_equal(srm_histogram(patch), srm_histogram(patch.T))
    plain = srm_histogram(np.full((16, 16), 9, np.uint8))
    assert plain[40] == plain[:HALF].sum()  # 1111 to the base 3
    assert plain[HALF + 40] == plain[HALF:].sum()


def test_the_step_lies_between_two_and_three_grey_levels() -> None:
    for difference, code in ((2, "1111"), (3, "2111"), (-2, "1111"), (-3, "0111")):
        patch = np.full((7, 7), 100, np.uint8)
        patch[:, 0] += np.int8(difference).astype(np.uint8)  # seen by first taps along rows alone
        along = srm_histogram(patch)[HALF:]
        assert along[int(code, 3)] == (14 if code == "1111" else 7)
        assert along[40] == (14 if code == "1111" else 7)


def test_frequencies_are_shares_of_each_half() -> None:
    counts = srm_histogram(soft_texture(3, 20, 30))
    shares = frequencies(counts)
    assert shares.dtype == np.float32
    assert shares[:, :HALF].sum(1) == pytest.approx([1, 1, 1])
    assert shares[0, HALF:] == pytest.approx(counts[0, HALF:] / counts[0, HALF:].sum())


@pytest.mark.parametrize(
    ("shape", "window", "stride"),
    [((40, 50), 16, 8), ((41, 37), 17, 4), ((300, 30), 13, 3), ((30, 30), 30, 8), ((33, 60), 9, 20),
     ((64, 20), 19, 1), ((400, 24), 16, 8)],
)  # fmt: skip
def test_dense_counts_are_those_of_every_window(
    shape: tuple[int, int], window: int, stride: int
) -> None:
    plane = soft_texture(*shape)
    dense = dense_histogram(plane, window, stride)
    rows, columns = (Axis.of(size, window, stride) for size in shape)
    assert dense.shape == (rows.count, columns.count, BINS)
    tops = rows.first + stride * np.arange(rows.count)
    lefts = columns.first + stride * np.arange(columns.count)
    patches = [[plane[y : y + window, x : x + window] for x in lefts] for y in tops]
    assert np.array_equal(dense, srm_histogram(np.array(patches)))


@pytest.mark.parametrize(
    ("size", "window", "stride"), [(40, 16, 8), (41, 17, 3), (9, 9, 4), (70, 7, 9)]
)
def test_cells_take_the_nearest_window_that_fits(size: int, window: int, stride: int) -> None:
    axis = Axis.of(size, window, stride)
    cells = -(-size // stride)
    assert len(axis.nearest) == cells
    starts = axis.first + stride * np.arange(axis.count)
    assert starts[0] >= 0
    assert starts[-1] + window <= size
    wanted = np.arange(cells) * stride + stride // 2 - window // 2
    for cell, start in enumerate(wanted):
        chosen = starts[axis.nearest[cell]]
        assert abs(chosen - start) == np.abs(starts - start).min()
        if 0 <= start <= size - window:
            assert chosen == start


def test_real_photos_dense_and_by_patch(shared: Path) -> None:
    photos = sorted((shared / "data" / "pristine" / "kodak24").rglob("*.png"))[:2]
    assert photos
    for photo in photos:
        green = np.asarray(PilImage.open(photo).convert("RGB"))[:300, :300, 1]
        dense = dense_histogram(green, 128, 64)
        axis = Axis.of(300, 128, 64)
        y = axis.first + 64
        assert np.array_equal(dense[1, 0], srm_histogram(green[y : y + 128, axis.first :][:, :128]))
        assert np.array_equal(srm_histogram(green[:24, :24]), by_hand(green[:24, :24]))


@pytest.mark.parametrize(
    "wrong", [np.zeros((6, 9), np.uint8), np.zeros((9, 9)), np.zeros(9, np.uint8)]
)
def test_what_cannot_be_counted_is_refused(wrong: NDArray[np.uint8]) -> None:
    with pytest.raises(ValueError, match="needs uint8"):
        srm_histogram(wrong)


@pytest.mark.parametrize(("window", "stride"), [(6, 8), (65, 8), (16, 0)])
def test_windows_that_do_not_fit_are_refused(window: int, stride: int) -> None:
    with pytest.raises(ValueError, match="window"):
        dense_histogram(np.zeros((64, 64), np.uint8), window, stride)


def test_cooccurrences_of_levels_are_those_of_every_window() -> None:
    levels = np.random.default_rng(0).integers(0, 3, (41, 52), dtype=np.uint8)
    dense = dense_cooccurrences(levels, 16, 8)
    rows, columns = (Axis.of(size, 16, 8) for size in levels.shape)
    for i, j in np.ndindex(rows.count, columns.count):
        y, x = rows.first + 8 * i, columns.first + 8 * j
        part, expected = levels[y : y + 16, x : x + 16].astype(int), np.zeros(HALF, int)
        for image in (part, part.T):
            runs = np.lib.stride_tricks.sliding_window_view(image, 4, axis=1)
            np.add.at(expected, (runs @ [27, 9, 3, 1]).ravel(), 1)
        np.testing.assert_array_equal(dense[i, j], expected)
    with pytest.raises(ValueError, match="levels are 0 to 2"):
        dense_cooccurrences(levels + 1, 16, 8)
