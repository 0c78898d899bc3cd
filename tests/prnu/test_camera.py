"""Camera identification and localization on simulated cameras."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from numpy.typing import NDArray

from forensics.detectors import Resources, Subject
from forensics.prnu.camera import CameraDetector, CameraSettings
from forensics.prnu.camera_model import CameraModel
from forensics.prnu.library import CameraLibrary
from forensics.prnu.localization import PrnuDetector, PrnuSettings
from forensics.records import Finding, Image, ManifestRow, NotApplicable, Status
from tests.prnu.cameras import HEIGHT, WIDTH, fingerprint_model, photo, trained_model

CPU = torch.device("cpu")


def write(folder: Path, models: list[CameraModel]) -> CameraLibrary:
    for model in models:
        (folder / model.camera_id).mkdir(parents=True)
        for name, data in model.to_files().items():
            (folder / model.camera_id / name).write_bytes(data)
    return CameraLibrary(str(folder))


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> CameraLibrary:
    models = [trained_model(1), fingerprint_model(2), fingerprint_model(3)]
    return write(tmp_path_factory.mktemp("models"), models)


@pytest.fixture(scope="module")
def camera(library: CameraLibrary) -> CameraDetector:
    return CameraDetector(CameraSettings(), Resources(CPU, library))


@pytest.fixture(scope="module")
def prnu(library: CameraLibrary) -> PrnuDetector:
    return PrnuDetector(PrnuSettings(), Resources(CPU, library))


def subject(pixels: NDArray[np.uint8], camera_id: str | None = None) -> Subject:
    return Subject(ManifestRow("id", "file:///x", camera_id=camera_id), Image(pixels, "JPEG"))


def reason(detector: CameraDetector | PrnuDetector, of: Subject) -> str:
    try:
        finding = detector.examine(of)
    except NotApplicable as abstention:
        return str(abstention)
    assert finding.status is Status.NOT_APPLICABLE
    return str(finding.reason)


def fits_columns(finding: Finding, detector: CameraDetector | PrnuDetector) -> None:
    schema = pa.schema(list(detector.columns.items()))
    assert set(finding.values) == set(schema.names)
    pa.Table.from_pylist([dict(finding.values)], schema=schema)


@pytest.fixture(scope="module")
def forged() -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """A square of another camera's photo in a photo of camera 1."""
    pixels = photo(1, 10).copy()
    mask = np.zeros(pixels.shape[:2], bool)
    mask[100:290, 150:350] = True
    pixels[mask] = photo(2, 10)[mask]
    return pixels, mask


class TestCamera:
    @pytest.mark.parametrize("seed", [1, 2, 3])
    def test_names_the_camera(self, camera: CameraDetector, seed: int) -> None:
        for number in (10, 11):
            finding = camera.examine(subject(photo(seed, number)))
            assert finding.status is Status.OK
            assert finding.values["best_camera"] == f"camera{seed}"
            assert finding.values["agrees"] is None
            rank = finding.values["rank"]
            assert [r["pce"] for r in rank] == sorted((r["pce"] for r in rank), reverse=True)
            assert rank[1]["pce"] < 20
            fits_columns(finding, camera)

    def test_compares_with_the_claim(self, camera: CameraDetector) -> None:
        assert camera.examine(subject(photo(1, 10), "camera1")).values["agrees"] is True
        finding = camera.examine(subject(photo(1, 10), "camera2"))
        assert finding.values["agrees"] is False
        assert finding.values["claimed"] == "camera2"
        assert finding.score is None

    def test_a_claim_without_a_fingerprint_is_not_compared(self, camera: CameraDetector) -> None:
        finding = camera.examine(subject(photo(1, 10), "nikon-d70-2003456"))
        assert finding.values["best_camera"] == "camera1"
        assert finding.values["claimed"] == "nikon-d70-2003456"
        assert finding.values["agrees"] is None

    def test_finds_a_crop_and_where_it_was(self, camera: CameraDetector) -> None:
        crop = photo(1, 10)[64:320, 100:484]
        finding = camera.examine(subject(crop))
        assert finding.values["best_camera"] == "camera1"
        assert (finding.values["offset_y"], finding.values["offset_x"]) == (64, 100)

    def test_unknown_camera_keeps_its_rank_list(self, camera: CameraDetector) -> None:
        finding = camera.examine(subject(photo(9, 0), "camera1"))
        assert finding.status is Status.NOT_APPLICABLE
        assert "under the threshold 30" in str(finding.reason)
        assert len(finding.values["rank"]) == 3
        assert finding.values["best_camera"] is None
        assert finding.values["agrees"] is None
        fits_columns(finding, camera)

    def test_a_shifted_image_does_not_match_in_place(self, camera: CameraDetector) -> None:
        shifted = np.roll(photo(1, 10), (8, 16), (0, 1))
        assert "no known camera" in reason(camera, subject(shifted))

    def test_abstains_with_a_reason(self, camera: CameraDetector) -> None:
        assert "64 a side" in reason(camera, subject(photo(1, 10)[:63]))
        big = np.zeros((HEIGHT, WIDTH + 1, 3), np.uint8)
        assert f"there are {WIDTH}x{HEIGHT}" in reason(camera, subject(big))
        assert "constant" in reason(camera, subject(np.full((HEIGHT, WIDTH, 3), 7, np.uint8)))
        alone = CameraDetector(CameraSettings(), Resources(CPU, None))
        assert "camera_models is not given" in reason(alone, subject(photo(1, 10)))

    def test_identity_is_that_of_the_models(
        self, camera: CameraDetector, library: CameraLibrary
    ) -> None:
        assert camera.identity() == {"camera_models": library.digest}


class TestPrnu:
    def test_marks_what_is_not_from_the_camera(
        self, prnu: PrnuDetector, forged: tuple[NDArray[np.uint8], NDArray[np.bool_]]
    ) -> None:
        pixels, mask = forged
        finding = prnu.examine(subject(pixels))
        fits_columns(finding, prnu)
        assert finding.values["camera_id"] == "camera1"
        assert finding.values["decision"] is True
        assert finding.score is not None
        assert finding.score > 0.8
        maps = {m.kind: m for m in finding.maps}
        probability, decision = maps["probability"].values, maps["decision"].values
        assert probability.shape == decision.shape == (HEIGHT // 8, WIDTH // 8)
        assert probability.dtype == np.float32
        truth = mask[4::8, 4::8]
        overlap = (decision & truth).sum() / (decision | truth).sum()
        assert overlap > 0.5
        assert finding.values["tampered_fraction"] == pytest.approx(decision.mean())

    def test_leaves_pristine_photos_alone(self, prnu: PrnuDetector) -> None:
        areas = [
            prnu.examine(subject(photo(1, number))).values["tampered_fraction"]
            for number in range(10, 14)
        ]
        assert np.mean(areas) < 0.05

    def test_same_bits_twice_and_subject_unchanged(
        self, prnu: PrnuDetector, forged: tuple[NDArray[np.uint8], NDArray[np.bool_]]
    ) -> None:
        one = subject(forged[0])
        first, again = prnu.examine(one), prnu.examine(one)
        assert first.values == again.values
        np.testing.assert_array_equal(first.maps[0].values, again.maps[0].values)
        np.testing.assert_array_equal(one.image.pixels, forged[0])

    def test_a_crop_is_held_against_its_part_of_the_fingerprint(
        self, prnu: PrnuDetector, forged: tuple[NDArray[np.uint8], NDArray[np.bool_]]
    ) -> None:
        finding = prnu.examine(subject(forged[0][37:, 51:]))
        assert (finding.values["offset_y"], finding.values["offset_x"]) == (37, 51)
        truth = forged[1][37:, 51:][4::8, 4::8]
        probability = finding.maps[0].values[: truth.shape[0], : truth.shape[1]]
        assert probability[truth].mean() > 5 * probability[~truth].mean()

    def test_shares_the_match_with_the_camera_detector(
        self, prnu: PrnuDetector, camera: CameraDetector, library: CameraLibrary
    ) -> None:
        one = subject(photo(1, 10))
        camera.examine(one)
        entry = library.entry("camera1")
        key = ("match", "camera1", entry.digest)
        match = one.shared(key, lambda: pytest.fail("was not kept"))
        assert match.pce > 30
        assert prnu.examine(one).values["camera_id"] == "camera1"

    def test_a_claimed_camera_that_nobody_knows_is_not_taken_for_granted(
        self, prnu: PrnuDetector
    ) -> None:
        assert prnu.examine(subject(photo(1, 10), "camera7")).values["camera_id"] == "camera1"
        assert "no known camera" in reason(prnu, subject(photo(9, 0), "camera7"))

    def test_abstains_with_a_reason(self, prnu: PrnuDetector) -> None:
        natural = photo(1, 10)
        assert "smaller than the window of 128" in reason(prnu, subject(natural[:127]))
        assert "as a whole lacks the fingerprint of camera2" in reason(
            prnu, subject(natural, "camera2")
        )
        assert "run jobs.camera_model" in reason(prnu, subject(photo(2, 10), "camera2"))
        assert "no known camera" in reason(prnu, subject(photo(9, 0)))
        assert "constant" in reason(prnu, subject(np.zeros((HEIGHT, WIDTH, 3), np.uint8)))
        big = np.zeros((HEIGHT + 1, WIDTH, 3), np.uint8)
        assert f"({WIDTH}x{HEIGHT}): resized" in reason(prnu, subject(big, "camera1"))
        alone = PrnuDetector(PrnuSettings(), Resources(CPU, None))
        assert "camera_models is not given" in reason(alone, subject(natural))

    def test_a_window_that_was_not_trained(self, tmp_path: Path) -> None:
        model = replace(trained_model(1), left_out={"192": "no windows of 192 px"})
        model = replace(model, windows=tuple(w for w in model.windows if w.window != 192))
        library = write(tmp_path, [model])
        detector = PrnuDetector(PrnuSettings(strategy="sw-ss", window=192), Resources(CPU, library))
        assert "no windows of 192 px" in reason(detector, subject(photo(1, 10)))
