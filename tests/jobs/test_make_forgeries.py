"""Forgeries from photos: what is written, that it continues, what is skipped or refused."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from forensics import manifest
from forensics.decode import decode
from forensics.records import ManifestRow, UserError
from forensics.synth.camera import SimulatedCamera
from forensics.train.trufor.examples import example_of
from jobs.cluster import PoolSettings
from jobs.entry import INCOMPLETE, OK
from jobs.make_forgeries import MakeForgeriesJob, make_forgeries
from jobs.tracking import TrackingSettings
from tests.jobs.photos import manifest_of, put_bytes

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_local")]


def photos(folder: Path, count: int = 6) -> list[ManifestRow]:
    rows = []
    for number in range(count):
        camera = SimulatedCamera(number % 2, 96, 128)
        data = camera.encode(camera.natural(number))
        rows.append(put_bytes(folder, f"photo {number}", f"camera{number % 2}", data))
    return rows


@pytest.fixture
def make(tmp_path: Path, store: str) -> Any:
    """Runs the job on some rows; returns its exit code."""

    def run(rows: list[ManifestRow], output: str = "forged", **changes: Any) -> int:
        values: dict[str, Any] = {
            "manifest": manifest_of(tmp_path, rows),
            "output": str(tmp_path / output),
            "crop": 80,
            "validation": 0.34,
            "photos_per_task": 4,
            "pool": PoolSettings(workers=2),
            "tracking": TrackingSettings(uri=store, experiment=tmp_path.name),
            **changes,
        }
        return make_forgeries(MakeForgeriesJob(**values))

    return run


def contents(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "lease.json"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_every_photo_gives_itself_and_one_forgery_of_each_kind(
    tmp_path: Path, make: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = photos(tmp_path / "photos")
    assert make(rows) == OK
    assert "24 images (copymove 6, pristine 6, removal 6, splice 6)" in capsys.readouterr().out
    truth = list(manifest.read(str(tmp_path / "forged" / "truth.parquet")))
    assert Counter((row.source, row.label) for row in truth) == {
        ("pristine", "pristine"): 6,
        **{(kind, "forged"): 6 for kind in ("splice", "copymove", "removal")},
    }
    assert len({row.image_id for row in truth}) == 24
    sides: dict[str, set[Any]] = {}
    qualities = set()
    by_photo: dict[str, dict[str, Any]] = {}
    for row in truth:
        name, _, kind = row.image_id.rpartition("-")
        assert kind == row.source
        sides.setdefault(name, set()).add((row.split, row.camera_id))
        image = decode(Path(row.uri).read_bytes())
        assert image.pixels.shape == (80, 80, 3)
        qualities.add(image.jpeg_quality)
        _, mask = example_of(row, 1).read()
        by_photo.setdefault(name, {})[kind] = image.pixels.astype(int), mask
    assert all(len(side) == 1 for side in sides.values())
    counts = Counter(split for [(split, _)] in sides.values())
    assert set(counts) == {"training", "validation"}
    assert min(counts.values()) >= 2
    assert min(qualities) >= 70
    assert len(qualities) > 5
    for images in by_photo.values():
        pristine, nothing = images.pop("pristine")
        assert not nothing.any()
        inside, outside = [], []
        for forged, mask in images.values():
            assert 0.004 < mask.mean() < 0.21
            error = np.abs(forged - pristine).mean(axis=-1)
            inside.append(error[mask].mean())
            outside.append(error[~mask].mean())  # compression alone
        assert np.mean(inside) > 2 * np.mean(outside)


def test_a_job_that_was_interrupted_ends_with_the_same_bytes(tmp_path: Path, make: Any) -> None:
    rows, forged = photos(tmp_path / "photos"), tmp_path / "forged"
    assert make(rows) == OK
    whole = contents(forged)
    first = (forged / "parts" / "part-00000.json").stat().st_mtime_ns
    for left in ("parts/part-00001.json", "truth.parquet"):
        (forged / left).unlink()
    for cut_off in [*(forged / "image").glob("photo_5*"), *(forged / "masks").glob("photo_4*")]:
        cut_off.write_bytes(b"")
    assert make(rows[::-1]) == OK
    assert contents(forged) == whole
    assert (forged / "parts" / "part-00000.json").stat().st_mtime_ns == first  # not made again


def test_more_forgeries_of_a_photo_show_other_parts_and_stay_on_its_side(
    tmp_path: Path, make: Any
) -> None:
    rows = photos(tmp_path / "photos")
    assert make(rows, per_photo=3, kinds=("copymove", "splice")) == OK
    assert make(rows, "other", per_photo=3, kinds=("copymove", "splice"), seed=5) == OK
    one, other = (
        list(manifest.read(str(tmp_path / name / "truth.parquet"))) for name in ("forged", "other")
    )
    assert Counter(row.source for row in one) == dict.fromkeys(
        ("pristine", "copymove", "splice"), 18
    )
    assert len({row.sha256 for row in one}) == 54
    sides = [photos_by_side(truth) for truth in (one, other)]
    assert sides[0] == sides[1]  # whatever the seed
    assert sides[0]["training"] | sides[0]["validation"] == {row.image_id for row in rows}
    assert not sides[0]["training"] & sides[0]["validation"]
    # both may be put together
    assert not {row.image_id for row in one} & {row.image_id for row in other}


def photos_by_side(truth: list[ManifestRow]) -> dict[str, set[str]]:
    sides: dict[str, set[str]] = {"training": set(), "validation": set()}
    for row in truth:
        sides[str(row.split)].add(" ".join(row.image_id.split("-")[0].split("_")))
    return sides


def test_photos_that_could_not_be_used_are_tried_again(
    tmp_path: Path, make: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    rows, folder = photos(tmp_path / "photos"), tmp_path / "photos"
    late, data = rows[2], (folder / "photo 2.jpg").read_bytes()
    (folder / "photo 2.jpg").unlink()
    assert make(rows, kinds=("removal",)) == INCOMPLETE
    assert f"{late.image_id}: not used" in capsys.readouterr().out
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "forged" / "image").iterdir()}
    assert make(rows, kinds=("removal",), max_megapixels=0.001) == INCOMPLETE  # none of them
    assert "10 images (pristine 5, removal 5)" in capsys.readouterr().out
    (folder / "photo 2.jpg").write_bytes(data)
    assert make(rows, kinds=("removal",)) == OK
    assert {
        path: path.stat().st_mtime_ns for path in kept
    } == kept  # the others were not made again
    continued = contents(tmp_path / "forged")
    assert make(rows, "whole", kinds=("removal",)) == OK
    whole = contents(tmp_path / "whole")
    assert {n: d for n, d in continued.items() if n.startswith(("image", "masks"))} == {
        n: d for n, d in whole.items() if n.startswith(("image", "masks"))
    }
    truth = (list(manifest.read(str(tmp_path / n / "truth.parquet"))) for n in ("forged", "whole"))
    assert [row.sha256 for row in next(truth)] == [row.sha256 for row in next(truth)]


def test_photos_that_cannot_be_used_are_named(
    tmp_path: Path, make: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = photos(tmp_path / "photos", 3)
    broken = put_bytes(tmp_path / "photos", "broken", None, b"no image")
    gone = ManifestRow("gone", str(tmp_path / "gone.jpg"))
    code = make([*rows, broken, gone], kinds=("removal",))
    assert code == INCOMPLETE
    out = capsys.readouterr().out
    assert "broken: not used, " in out
    assert "gone: not used, " in out
    assert "gone.jpg" in out
    assert "6 images (pristine 3, removal 3)" in out
    with pytest.raises(UserError, match="no photo could be used; the first: "):
        make([broken, gone], output="nothing", kinds=("removal",))


def test_other_work_in_the_same_folder_is_refused(tmp_path: Path, make: Any) -> None:
    rows = photos(tmp_path / "photos", 2)
    assert make(rows, kinds=("copymove",)) == OK
    with pytest.raises(UserError, match="holds forgeries of other photos or with other settings"):
        make(rows, kinds=("removal",))
    with pytest.raises(UserError, match="has 1 photos; 2 are needed"):
        make(rows[:1], output="one", kinds=("removal",))
    with pytest.raises(UserError, match="has 2 photos; 4 are needed"):
        make(rows, output="two")
    with pytest.raises(UserError, match="1 images are not pristine"):
        make([rows[0], ManifestRow("f", "f.jpg", label="forged")], output="f", kinds=("removal",))
    with pytest.raises(ValidationError, match="lowest_quality 90 is above"):
        make(rows, lowest_quality=90, highest_quality=80)
