"""Examples from manifests, and the cache of what was read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from forensics.records import ManifestRow, UserError
from forensics.train.trufor.examples import Cache, Example, Pair, example_of


def test_a_row_of_a_manifest_becomes_an_example(tmp_path: Path) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    mask = np.zeros((20, 30), np.uint8)
    mask[5:9, 3:20] = 255
    Image.fromarray(rgb).save(tmp_path / "a.png")
    Image.fromarray(mask).save(tmp_path / "m.png")
    row = ManifestRow(
        "a",
        str(tmp_path / "a.png"),
        label="forged",
        mask_uri=str(tmp_path / "m.png"),
        source="casia",
        split="validation",
    )
    example = example_of(row, 10)
    assert (example.source, example.forged, example.split) == ("casia", True, "validation")
    pixels, forged = example.read()
    np.testing.assert_array_equal(pixels, rgb)
    np.testing.assert_array_equal(forged, mask > 0)
    pristine = example_of(ManifestRow("b", row.uri, label="pristine"), 10)
    assert not pristine.read()[1].any()
    with pytest.raises(UserError, match="a: image of 30 x 20"):
        Cache(1).read(example_of(row, 1e-4))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (ManifestRow("a", "a.png", label="forged"), "no mask_uri"),
        (ManifestRow("a", "a.png"), "label None; forged or pristine"),
    ],
)
def test_a_row_that_does_not_say_enough_is_refused(row: ManifestRow, message: str) -> None:
    with pytest.raises(UserError, match=message):
        example_of(row, 10)


def counted(reads: list[str], name: str, side: int = 100) -> Example:
    def read() -> Pair:
        reads.append(name)
        return np.zeros((side, side, 3), np.uint8), np.zeros((side, side), np.bool_)

    return Example(name, "", False, None, read)


def test_the_cache_holds_what_was_read_last() -> None:
    reads: list[str] = []
    a, b, c = (counted(reads, name) for name in "abc")
    cache = Cache(2.5 * 40_000 / 1e9)  # two pairs of 40 kB
    for example in (a, b, a, c, a, b):
        cache.read(example)
    assert reads == ["a", "b", "c", "b"]  # c took the place of b


def test_without_a_cache_all_is_read_again() -> None:
    reads: list[str] = []
    example = counted(reads, "a")
    cache = Cache(0)
    for _ in range(3):
        assert cache.read(example)[0].shape == (100, 100, 3)
    assert len(reads) == 3
