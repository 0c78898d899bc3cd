"""Random rows of a manifest."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from forensics.manifest import draw, write_manifest
from forensics.records import ManifestRow


def manifest(folder: Path, sizes: list[int | None]) -> str:
    rows = [ManifestRow(f"i{n:04d}", f"/i{n}", size=size) for n, size in enumerate(sizes)]
    write_manifest(rows, str(folder / "m.parquet"))
    return str(folder / "m.parquet")


def test_it_says_how_many_how_large_and_which_are_largest(tmp_path: Path) -> None:
    sizes = [*range(3000)]
    found = draw(manifest(tmp_path, list(sizes)), 20, seed=0)
    assert (found.rows, found.size) == (3000, sum(sizes))
    assert [row.size for row in found.largest] == sizes[:-9:-1]
    assert len({row.image_id for row in found.sample}) == 20


def test_a_file_of_unknown_size_leaves_the_sum_open(tmp_path: Path) -> None:
    found = draw(manifest(tmp_path, [5, None, 9]), 20, seed=0)
    assert found.size is None
    assert [row.size for row in found.largest] == [9, 5]
    assert {row.image_id for row in found.sample} == {"i0000", "i0001", "i0002"}


def test_only_the_first_rows_where_the_scan_is_limited(tmp_path: Path) -> None:
    found = draw(manifest(tmp_path, [1, 2, 3, 400]), 9, seed=0, limit=3)
    assert (found.rows, found.size, len(found.sample)) == (3, 6, 3)


def test_every_row_is_as_likely_and_a_seed_draws_the_same(tmp_path: Path) -> None:
    uri = manifest(tmp_path, [1] * 10)
    counts = Counter(row.image_id for seed in range(300) for row in draw(uri, 3, seed).sample)
    assert len(counts) == 10
    assert 60 <= min(counts.values()) <= max(counts.values()) <= 120  # 90 ± 3.8 deviations
    assert draw(uri, 3, 7) == draw(uri, 3, 7)
