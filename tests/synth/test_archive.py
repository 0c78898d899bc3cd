from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pydantic import ValidationError

from forensics.records import UserError
from forensics.synth import ArchiveSettings, SimulatedCamera, make_archive
from forensics.synth.plan import camera_of, forged_area, plan

SETTINGS = ArchiveSettings(
    cameras=2,
    width=97,
    height=64,
    reference_images=2,
    training_images=3,
    archive_images=20,
    forged_fraction=0.5,
    quality=90,
    seed=3,
)
TABLES = ("reference", "training", "truth")
COLUMNS = ["image_id", "uri", "camera_id", "sha256", "size", "split", "label", "mask_uri", "source"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("archive") / "new"
    return folder, make_archive(folder, SETTINGS)


def rows_of(folder: Path, table: str) -> list[dict[str, object]]:
    return pq.read_table(folder / f"{table}.parquet").to_pylist()


def files_of(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_tables_and_files_agree(made):
    folder, _ = made
    files = files_of(folder)
    seen = []
    for table in TABLES:
        assert pq.read_schema(folder / f"{table}.parquet").names == COLUMNS
        for row in rows_of(folder, table):
            assert files[row["uri"]] == row["sha256"]
            assert (folder / row["uri"]).stat().st_size == row["size"]
            seen.append(row["uri"])
            if row["mask_uri"]:
                seen.append(row["mask_uri"])
    assert len(set(seen)) == len(seen)
    assert set(seen) == set(files) - {f"{table}.parquet" for table in TABLES}


def test_counts(made):
    folder, summary = made
    truth = rows_of(folder, "truth")
    ids = [row["image_id"] for table in TABLES for row in rows_of(folder, table)]
    assert len(set(ids)) == len(ids)
    assert (summary.reference, summary.training) == (4, 6)
    assert (summary.pristine, summary.forged, summary.strangers, summary.odd) == (11, 9, 2, 4)
    assert len(rows_of(folder, "reference")) == 4
    assert len(rows_of(folder, "training")) == 6
    assert len(truth) == 24
    assert summary.folder == folder
    kinds = [row["source"] for row in truth if row["label"] == "forged"]
    assert sorted(kinds) == ["copymove"] * 3 + ["removal"] * 3 + ["splice"] * 3


def test_every_row_is_complete(made):
    folder, summary = made
    for table, split in zip(TABLES, ("reference", "training", "test"), strict=True):
        for row in rows_of(folder, table):
            assert row["split"] == split
            assert (row["mask_uri"] is not None) == (row["label"] == "forged")
            if table != "truth":
                assert row["label"] == "pristine"
                assert row["camera_id"] in summary.cameras
                assert f"/{row['camera_id']}/" in row["uri"]
            elif row["label"] is None:
                assert row["camera_id"] is None
                assert row["source"] in {"truncated", "text", "gray", "tiny"}
            else:
                assert row["camera_id"] in {*summary.cameras, summary.stranger}
                assert row["camera_id"] != summary.stranger or row["label"] == "pristine"
    known = {row["camera_id"] for row in rows_of(folder, "truth") if row["label"] == "forged"}
    assert known == set(summary.cameras)


def test_photos_name_their_camera_and_have_size_and_quality(made):
    folder, _ = made
    for table in TABLES:
        for row in rows_of(folder, table):
            if row["label"] is None:
                continue
            with Image.open(folder / row["uri"]) as picture:
                exif = picture.getexif()
                serial = exif.get_ifd(0x8769)[0xA431]
                assert picture.size == (97, 64)
                assert picture.quantization[0][0] == 3  # quality 90
            assert f"{exif[0x010F]}-{exif[0x0110]}-{serial}".lower() == row["camera_id"]


def test_masks_fit_their_images(made):
    folder, _ = made
    forged = [row for row in rows_of(folder, "truth") if row["label"] == "forged"]
    assert forged
    for row in forged:
        with Image.open(folder / row["mask_uri"]) as picture:
            mask = np.asarray(picture)
        assert mask.shape == (64, 97)
        assert set(np.unique(mask)) == {0, 255}
        assert 0.02 < (mask > 0).mean() < 0.13


def test_forgeries_differ_from_the_photo_inside_the_mask(made):
    folder, summary = made
    row = next(row for row in rows_of(folder, "truth") if row["source"] == "splice")
    index = summary.cameras.index(row["camera_id"])
    camera = SimulatedCamera(3000 + index, 64, 97, quality=90)
    number = 100_000 + int(Path(row["image_id"]).stem.removeprefix("photo_"))
    with Image.open(io.BytesIO(camera.encode(camera.natural(number)))) as picture:
        photo = np.asarray(picture).astype(int)
    with Image.open(folder / row["uri"]) as picture:
        difference = np.abs(np.asarray(picture).astype(int) - photo).mean(axis=-1)
    with Image.open(folder / row["mask_uri"]) as picture:
        mask = np.asarray(picture) > 0
    assert difference[mask].mean() > 5 * difference[~mask].mean()


def test_odd_files_are_odd(made):
    folder, _ = made
    odd = folder / "archive"
    with pytest.raises(OSError, match="truncated"), Image.open(odd / "odd_truncated.jpg") as image:
        image.load()
    with pytest.raises(Image.UnidentifiedImageError):
        Image.open(odd / "odd_text.jpg")
    with Image.open(odd / "odd_gray.png") as image:
        assert (image.format, image.mode) == ("PNG", "L")
    with Image.open(odd / "odd_tiny.jpg") as image:
        assert image.size == (16, 16)


@pytest.mark.parametrize("workers", [1, 2])
def test_same_settings_same_bytes(made, tmp_path, workers):
    make_archive(tmp_path, SETTINGS, workers=workers)
    assert files_of(tmp_path) == files_of(made[0])


def test_another_seed_is_another_archive(made, tmp_path):
    settings = SETTINGS.model_copy(update={"seed": 4, "archive_images": 4})
    summary = make_archive(tmp_path, settings)
    assert not set(summary.cameras) & set(made[1].cameras)
    photos = {row["sha256"] for row in rows_of(made[0], "truth") if row["source"] != "text"}
    assert not photos & {row["sha256"] for row in rows_of(tmp_path, "truth")}


def test_the_order_of_the_archive_depends_on_the_seed_only():
    def kinds(seed: int) -> list[str | None]:
        jobs = plan(SETTINGS.model_copy(update={"seed": seed}))
        return [job.kind for job in jobs if job.split == "test"]

    assert kinds(1) == kinds(1)
    assert kinds(1) != kinds(2)
    assert sorted(map(str, kinds(1))) == sorted(map(str, kinds(2)))


def test_plain_cameras_differ_in_seed_and_stranger_only():
    cameras = [camera_of(SETTINGS, index) for index in range(3)]
    assert cameras == [SimulatedCamera(3000 + i, 64, 97, quality=90) for i in range(3)]
    assert {forged_area(SETTINGS, job) for job in plan(SETTINGS)} == {(0.03, 0.12)}


def test_diverse_cameras_alternate_and_all_differ():
    settings = SETTINGS.model_copy(update={"diverse": True, "cameras": 5})
    cameras = [camera_of(settings, index) for index in range(6)]
    assert [camera.model for camera in cameras] == ["S100", "P100"] * 3
    assert cameras == [camera_of(settings.model_copy(), index) for index in range(6)]
    for name in ("prnu_strength", "gain", "read_noise"):
        assert len({getattr(camera, name) for camera in cameras}) == 6
    for plain, phone in zip(cameras[::2], cameras[1::2], strict=True):
        assert plain.noise_reduction == plain.sharpening == 0
        assert min(phone.noise_reduction, phone.sharpening) > 0
        assert plain.quality == 90 > phone.quality
    other = camera_of(settings.model_copy(update={"seed": 4}), 0)
    assert other.gain != cameras[0].gain


def test_a_diverse_archive_has_diverse_forgeries(tmp_path):
    settings = SETTINGS.model_copy(update={"diverse": True, "archive_images": 30})
    summary = make_archive(tmp_path, settings)
    assert [name.split("-")[1] for name in summary.cameras] == ["s100", "p100"]
    sizes = []
    for row in rows_of(tmp_path, "truth"):
        if row["mask_uri"]:
            with Image.open(tmp_path / row["mask_uri"]) as picture:
                sizes.append((np.asarray(picture) > 0).mean())
    assert 0.003 < min(sizes) < 0.02
    assert 0.06 < max(sizes) < 0.16
    drawn = [
        forged_area(settings, job)[0]
        for seed in range(40)
        for job in plan(settings.model_copy(update={"seed": seed}))
        if job.kind
    ]
    # Log-uniform: the median is the geometric mean of the ends.
    assert np.median(drawn) == pytest.approx((0.004 * 0.15) ** 0.5, rel=0.2)


def test_a_folder_in_use_is_refused(tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(UserError, match="not empty"):
        make_archive(tmp_path, SETTINGS)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_smallest_archive(tmp_path):
    settings = ArchiveSettings(
        cameras=1, width=16, height=16, reference_images=1, training_images=0, archive_images=0
    )
    summary = make_archive(tmp_path, settings)
    assert (summary.reference, summary.training, summary.forged, summary.odd) == (1, 0, 0, 4)
    assert pq.read_schema(tmp_path / "training.parquet").names == COLUMNS


@pytest.mark.parametrize(
    "wrong", [{"camera": 3}, {"cameras": 0}, {"forged_fraction": 1.5}, {"quality": 0}, {"width": 8}]
)
def test_wrong_settings(wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        ArchiveSettings(**wrong)
