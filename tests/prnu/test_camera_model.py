"""Training on pristine photos, the folder of files it becomes, and the library that reads it."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from forensics.prnu.camera_model import CARD, CameraModel, StoredFile, UsedImage, read_stored
from forensics.prnu.correlation import ncc
from forensics.prnu.features import feature_planes
from forensics.prnu.library import CameraLibrary
from forensics.prnu.residual import gray, noise_residual
from forensics.prnu.training import WINDOWS, PristineSample, pristine_sample, train
from forensics.records import NotApplicable, UserError
from tests.prnu.cameras import HEIGHT, WIDTH, fingerprint_model, photo, used

PHOTOS = 4


@pytest.fixture(scope="module")
def bare() -> CameraModel:
    return fingerprint_model(1)


@pytest.fixture(scope="module")
def samples(bare: CameraModel) -> list[PristineSample]:
    return [pristine_sample(bare, used(f"photo{i}"), photo(1, i)) for i in range(PHOTOS)]


@pytest.fixture(scope="module")
def trained(bare: CameraModel, samples: list[PristineSample]) -> CameraModel:
    return train(bare, samples)


def test_window_statistics_are_those_of_the_windows(bare: CameraModel) -> None:
    rgb = photo(1, 0)
    sample = pristine_sample(bare, used("a"), rgb)
    W, Z = noise_residual(rgb), bare.fingerprint.numpy() * gray(rgb)
    second = np.s_[64:192, 0:128]  # windows of 128 start every 64 pixels
    index = 1 * ((WIDTH // 16 - 8) // 4 + 1)
    assert sample.rho[128][index] == pytest.approx(ncc(W[second], Z[second]), abs=1e-5)
    planes = feature_planes(rgb)
    np.testing.assert_allclose(
        sample.features[128][index], planes[:, 64:192, :128].mean(axis=(1, 2)), rtol=1e-4
    )


def test_correlation_is_there_with_the_fingerprint_and_absent_without(
    samples: list[PristineSample],
) -> None:
    for size in (32, 64, 128):
        present = np.concatenate([s.rho[size] for s in samples])
        absent = np.concatenate([s.rho_absent[size] for s in samples])
        assert present.mean() > 0.02
        assert abs(absent.mean()) < 0.002
        assert absent.std() == pytest.approx(1 / size, rel=0.5)


def test_models_of_all_windows(trained: CameraModel) -> None:
    assert [w.window for w in trained.windows] == [w for w in WINDOWS if w < 256]
    assert trained.left_out["256"].startswith("24 windows of 256 px in 4 photos are too few")
    spreads = [w.sigma0 for w in trained.windows]
    assert spreads == sorted(spreads, reverse=True)
    for window in trained.windows:
        assert window.images == PHOTOS
        assert window.sigma1 > 0
        assert window.adjusted_r2 < 1
    assert trained.window(64).adjusted_r2 > 0.3
    assert [a.image_id for a in trained.false_alarms] != []
    assert len(trained.false_alarms) == PHOTOS


def test_order_of_samples_does_not_matter(
    bare: CameraModel, samples: list[PristineSample], trained: CameraModel
) -> None:
    assert train(bare, samples[::-1]).digest == trained.digest


def test_files_bring_it_back(trained: CameraModel) -> None:
    files = trained.to_files()
    again = CameraModel.from_files(files.__getitem__)
    assert again.digest == trained.digest
    assert torch.equal(again.fingerprint, trained.fingerprint)
    features = np.random.default_rng(0).uniform(0, 1, (50, 4)).astype(np.float32)
    for a, b in zip(again.windows, trained.windows, strict=True):
        assert (a.window, a.sigma0, a.sigma1, a.adjusted_r2) == (
            b.window,
            b.sigma0,
            b.sigma1,
            b.adjusted_r2,
        )
        np.testing.assert_array_equal(
            a.predictor.predict_features(features), b.predictor.predict_features(features)
        )
    card = json.loads(files[CARD])
    assert list(files)[-1] == CARD
    assert card["training"][0] == {"image_id": "photo0", "sha256": used("photo0").sha256, "size": 1}


@pytest.mark.parametrize("role", ["fingerprint", "model"])
def test_a_changed_file_is_refused(trained: CameraModel, role: str) -> None:
    files = trained.to_files()
    name = json.loads(files[CARD])["files"][role]["name"]
    files[name] = files[name][:-1] + bytes([files[name][-1] ^ 1])
    with pytest.raises(UserError, match=f"{name} is not the file"):
        CameraModel.from_files(files.__getitem__)


def test_names_follow_from_content(bare: CameraModel, trained: CameraModel) -> None:
    fingerprints = [
        {name for name in model.to_files() if name.startswith("fingerprint-")}
        for model in (bare, trained, replace(bare, fingerprint=bare.fingerprint + 1))
    ]
    assert fingerprints[0] == fingerprints[1] != fingerprints[2]


def test_the_sums_are_named_but_do_not_change_what_the_model_is(bare: CameraModel) -> None:
    files = bare.to_files(b"sums")
    again = CameraModel.from_files(files.__getitem__)
    assert again.accumulator is not None
    assert files[again.accumulator.name] == b"sums"
    assert again.digest == bare.digest
    assert json.loads(again.to_files()[CARD])["accumulator"] == asdict(again.accumulator)


def test_a_card_cannot_name_files_elsewhere() -> None:
    with pytest.raises(UserError, match="no part of a camera model"):
        read_stored(StoredFile("../../secret", "0" * 64), lambda name: b"")


def test_a_changed_card_is_refused(trained: CameraModel) -> None:
    files = trained.to_files()
    card = json.loads(files[CARD])
    card["windows"][0]["sigma0"] *= 2
    files[CARD] = json.dumps(card).encode()
    with pytest.raises(UserError, match="digest differs"):
        CameraModel.from_files(files.__getitem__)


@pytest.mark.parametrize("card", [b"", b"[]", b"{}", b'{"format": 99}', b"\xff"])
def test_what_is_no_card(card: bytes) -> None:
    with pytest.raises(UserError, match=r"card\.json is not"):
        CameraModel.from_files({CARD: card}.__getitem__)


def test_any_change_changes_the_digest(trained: CameraModel) -> None:
    other = trained.fingerprint.clone()
    other[0, 0] += 1
    assert replace(trained, fingerprint=other).digest != trained.digest
    assert replace(trained, camera_id="x").digest != trained.digest
    assert replace(trained, windows=trained.windows[1:]).digest != trained.digest


def test_fingerprint_alone_is_a_model(bare: CameraModel) -> None:
    again = CameraModel.from_files(bare.to_files().__getitem__)
    assert again.windows == ()
    with pytest.raises(UserError, match=r"no predictor .*run jobs\.camera_model"):
        again.window(128)


def test_the_nearest_quality_is_taken(trained: CameraModel) -> None:
    mixed = trained.window(64)
    model = replace(
        trained,
        windows=(
            mixed,
            replace(mixed, jpeg_quality=75, sigma0=0.75),
            replace(mixed, jpeg_quality=95, sigma0=0.95),
        ),
    )
    assert model.window(64, 90).sigma0 == 0.95
    assert model.window(64, 60).sigma0 == 0.75
    assert model.window(64) == mixed
    with pytest.raises(UserError, match="there are 64"):
        model.window(100)


def test_images_of_the_fingerprint_and_copies_are_left_out(
    bare: CameraModel, samples: list[PristineSample]
) -> None:
    copy = replace(samples[0], image=replace(samples[0].image, image_id="zz_copy"))
    part = replace(samples[1], image=bare.reference[0])
    model = train(bare, [*samples, copy, part])
    assert [image.image_id for image in model.training] == [s.image.image_id for s in samples]
    assert model.left_out["zz_copy"] == "same file as photo0"
    assert "part of the fingerprint" in model.left_out[bare.reference[0].image_id]


def test_nothing_to_train_on(bare: CameraModel, samples: list[PristineSample]) -> None:
    with pytest.raises(UserError, match="no predictor could be trained"):
        train(bare, [])
    with pytest.raises(UserError, match="part of the fingerprint"):
        train(bare, [replace(samples[0], image=bare.reference[0])])


def test_other_sizes_cannot_train(bare: CameraModel) -> None:
    with pytest.raises(NotApplicable, match=f"small has 100x90 .* has {WIDTH}x{HEIGHT}"):
        pristine_sample(bare, used("small"), np.zeros((90, 100, 3), np.uint8))


def test_a_fingerprint_is_a_float_plane() -> None:
    with pytest.raises(ValueError, match="float32"):
        CameraModel("c", torch.zeros(3, 4, 5), 5.0, 4, ())


class TestLibrary:
    def write(self, folder: Path, model: CameraModel) -> None:
        folder.mkdir(parents=True)
        for name, data in model.to_files().items():
            (folder / name).write_bytes(data)

    def test_finds_the_cameras_and_loads_them(self, tmp_path: Path, bare: CameraModel) -> None:
        self.write(tmp_path / "b", replace(bare, camera_id="two"))
        self.write(tmp_path / "a", bare)
        (tmp_path / "notes.txt").write_text("not a camera")
        library = CameraLibrary(str(tmp_path))
        assert [entry.camera_id for entry in library] == sorted([bare.camera_id, "two"])
        assert "two" in library
        assert "three" not in library
        assert library.model("two").camera_id == "two"
        assert (library.entry("two").height, library.entry("two").width) == (HEIGHT, WIDTH)
        with pytest.raises(KeyError):
            library.model("three")

    def test_digest_follows_the_content(self, tmp_path: Path, bare: CameraModel) -> None:
        self.write(tmp_path / "x" / "a", bare)
        self.write(tmp_path / "y" / "renamed", bare)
        self.write(tmp_path / "z" / "a", replace(bare, fingerprint=bare.fingerprint + 1))
        digests = [CameraLibrary(str(tmp_path / n)).digest for n in "xyz"]
        assert digests[0] == digests[1] != digests[2]

    def test_keeps_to_its_budget(self, tmp_path: Path, bare: CameraModel) -> None:
        for name in "abc":
            self.write(tmp_path / name, replace(bare, camera_id=name))
        library = CameraLibrary(str(tmp_path), budget=2 * bare.fingerprint.nbytes)
        a, b = library.model("a"), library.model("b")
        assert library.model("a") is a
        library.model("c")
        assert library.model("a") is a
        assert library.model("b") is not b

    def test_what_is_wrong_is_said(self, tmp_path: Path, bare: CameraModel) -> None:
        with pytest.raises(UserError, match="no camera models in"):
            CameraLibrary(str(tmp_path))
        self.write(tmp_path / "a", bare)
        self.write(tmp_path / "b", bare)
        with pytest.raises(UserError, match=f"camera {bare.camera_id} is in .*a and in .*b"):
            CameraLibrary(str(tmp_path))

    def test_a_model_that_changes_under_way_is_refused(
        self, tmp_path: Path, bare: CameraModel
    ) -> None:
        self.write(tmp_path / "a", bare)
        library = CameraLibrary(str(tmp_path))
        changed = replace(bare, reference=(UsedImage("new", "0" * 64, 1),))
        (tmp_path / "a" / CARD).write_bytes(changed.to_files()[CARD])
        with pytest.raises(UserError, match="changed while it was in use"):
            library.model(bare.camera_id)
