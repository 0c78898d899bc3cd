from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from forensics.synth.camera import SimulatedCamera, demosaic
from forensics.synth.scenes import natural_scene

BLACK, RANGE = 256, 4095 - 256
SENSITIVITY = {"red": 0.6, "green": 1.0, "blue": 0.7}
SIZES = [(1, 1), (1, 2), (3, 1), (2, 2), (5, 8), (17, 31), (100, 75)]


def constant(height: int, width: int, colour: tuple[float, float, float]) -> np.ndarray:
    return np.full((height, width, 3), colour, dtype=np.float32)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_any_size(height, width):
    camera = SimulatedCamera(3, height, width)
    for photo in (camera.flat_field(0), camera.natural(0)):
        assert photo.shape == (height, width, 3)
        assert photo.dtype == np.uint8
        with Image.open(io.BytesIO(camera.encode(photo))) as picture:
            assert picture.size == (width, height)


def test_same_camera_same_bytes():
    first, second = SimulatedCamera(4, 48, 64), SimulatedCamera(4, 48, 64)
    assert first.encode(first.natural(7)) == second.encode(second.natural(7))
    np.testing.assert_array_equal(first.flat_field(2), second.flat_field(2))
    assert not np.array_equal(first.natural(7), first.natural(8))
    assert not np.array_equal(first.natural(7), first.flat_field(7))
    assert not np.array_equal(first.natural(7), SimulatedCamera(5, 48, 64).natural(7))


def test_exposing_changes_neither_scene_nor_fingerprint():
    camera = SimulatedCamera(4, 31, 33)
    scene = natural_scene(31, 33, 0)
    kept, k = scene.copy(), camera.prnu.copy()
    camera.expose(scene, 1)
    np.testing.assert_array_equal(scene, kept)
    np.testing.assert_array_equal(camera.prnu, k)
    with pytest.raises(ValueError, match="read-only"):
        camera.prnu[0, 0] = 1


def test_prnu_is_white_of_the_given_strength_and_unshared():
    a = SimulatedCamera(1, 400, 500, prnu_strength=0.02).prnu
    b = SimulatedCamera(2, 400, 500, prnu_strength=0.02).prnu
    assert a.std() == pytest.approx(0.02, rel=0.01)
    assert abs(a.mean()) < 5 * 0.02 / np.sqrt(a.size)
    for other in (b, np.roll(a, 1, axis=0), np.roll(a, 1, axis=1)):
        assert abs(np.corrcoef(a.ravel(), other.ravel())[0, 1]) < 5 / np.sqrt(a.size)


def test_prnu_multiplies_the_light_of_every_pixel():
    camera = SimulatedCamera(8, 64, 80, prnu_strength=0.05, gain=0, read_noise=0)
    scene = np.minimum(natural_scene(64, 80, 3), 0.8)
    light = np.empty((64, 80))
    light[0::2, 0::2] = scene[0::2, 0::2, 0] * SENSITIVITY["red"]
    light[0::2, 1::2] = scene[0::2, 1::2, 1] * SENSITIVITY["green"]
    light[1::2, 0::2] = scene[1::2, 0::2, 1] * SENSITIVITY["green"]
    light[1::2, 1::2] = scene[1::2, 1::2, 2] * SENSITIVITY["blue"]
    raw = camera.capture(scene, 0).astype(float)
    np.testing.assert_allclose(raw, BLACK + RANGE * light * (1 + camera.prnu), atol=0.501)


def test_mean_of_many_exposures_shows_prnu():
    camera = SimulatedCamera(8, 32, 32)
    scene = constant(32, 32, (0.5, 0.5, 0.5))
    mean = np.mean([camera.capture(scene, seed) for seed in range(400)], axis=0) - BLACK
    green = np.zeros((32, 32), dtype=bool)
    green[0::2, 1::2] = green[1::2, 0::2] = True
    deviation = mean[green] / (0.5 * RANGE) - 1
    # Standard error of one pixel: sqrt(gain · 0.5) / 0.5 / sqrt(400) = 0.0014 beside K of 0.012.
    assert np.corrcoef(deviation, camera.prnu[green])[0, 1] > 0.98
    slope = np.polyfit(camera.prnu[green], deviation, 1)[0]
    assert slope == pytest.approx(1, abs=0.03)


def test_shot_noise_variance_is_linear_in_light():
    gain, read_noise = 5e-4, 4e-3
    camera = SimulatedCamera(
        9, 512, 512, prnu_strength=0, gain=gain, read_noise=read_noise, quality=95
    )
    levels = np.array([0.0, 0.1, 0.2, 0.4, 0.8])
    variances = []
    for seed, level in enumerate(levels):
        raw = camera.capture(constant(512, 512, (0, level, 0)), seed)
        green = (raw[0::2, 1::2].astype(float) - BLACK) / RANGE
        assert green.mean() == pytest.approx(level, abs=3e-4)
        variances.append(green.var() - 1 / 12 / RANGE**2)
    np.testing.assert_allclose(variances, gain * levels + read_noise**2, rtol=0.03)


def test_saturation_clips():
    camera = SimulatedCamera(9, 16, 16)
    raw = camera.capture(constant(16, 16, (5, 5, 5)), 0)
    assert (raw == 4095).all()
    assert (camera.develop(raw) == 255).all()


@pytest.mark.parametrize(("height", "width"), [(2, 2), (2, 8), (6, 2), (16, 18)])
def test_demosaic_returns_a_flat_colour_exactly(height, width):
    colour = np.array([0.125, 0.5, 0.75], dtype=np.float32)
    mosaic = np.full((height, width), colour[1], dtype=np.float32)
    mosaic[0::2, 0::2], mosaic[1::2, 1::2] = colour[0], colour[2]
    np.testing.assert_array_equal(demosaic(mosaic), np.broadcast_to(colour, (height, width, 3)))


def test_demosaic_interpolates_a_plane_exactly_inside():
    # Bilinear interpolation reproduces planes, which a wrong neighbour would break.
    y, x = np.mgrid[0:12, 0:14].astype(np.float32)
    planes = np.stack([3 * y + x, 64 + 2 * y - x, 5 * x - y], axis=-1)
    mosaic = planes[..., 1].copy()
    mosaic[0::2, 0::2] = planes[0::2, 0::2, 0]
    mosaic[1::2, 1::2] = planes[1::2, 1::2, 2]
    rgb = demosaic(mosaic)
    np.testing.assert_array_equal(rgb[1:-1, 1:-1], planes[1:-1, 1:-1])


def noise_of(camera: SimulatedCamera, scene: np.ndarray, iso: float = 1) -> np.ndarray:
    """What differs between two exposures of one scene, gray."""
    first, second = (camera.expose(scene, seed, iso).mean(axis=-1) for seed in (0, 1))
    return first - second


def test_noise_reduction_spares_texture_and_follows_the_sensitivity():
    scene = constant(128, 128, (0.2, 0.2, 0.2))
    scene[:, 64:] *= np.random.default_rng(0).uniform(0.3, 1.7, (128, 64, 1)).astype(np.float32)
    plain, phone = SimulatedCamera(2, 128, 128), SimulatedCamera(2, 128, 128, noise_reduction=0.8)
    for iso in (1, 4):
        left = [
            noise_of(phone, scene, iso)[:, part].std() / noise_of(plain, scene, iso)[:, part].std()
            for part in (slice(0, 60), slice(68, 128))
        ]
        assert left[0] < 0.6
        assert left[1] > 0.75


def test_sharpening_raises_noise():
    scene = constant(64, 64, (0.2, 0.2, 0.2))
    plain, phone = SimulatedCamera(2, 64, 64), SimulatedCamera(2, 64, 64, sharpening=1)
    assert noise_of(phone, scene).std() > 1.3 * noise_of(plain, scene).std()


def test_sensitivity_raises_noise_and_leaves_prnu():
    camera = SimulatedCamera(9, 512, 512, prnu_strength=0, gain=5e-4, read_noise=4e-3)
    raw = camera.capture(constant(512, 512, (0, 0.2, 0)), 0, iso=3)
    green = (raw[0::2, 1::2].astype(float) - BLACK) / RANGE
    assert green.var() == pytest.approx(3 * 5e-4 * 0.2 + 9 * 4e-3**2, rel=0.03)
    still = SimulatedCamera(8, 32, 32, gain=0, read_noise=0)
    scene = constant(32, 32, (0.5, 0.5, 0.5))
    np.testing.assert_array_equal(still.capture(scene, 0, iso=4), still.capture(scene, 0))


def test_natural_photos_vary_in_sensitivity_and_flat_fields_do_not():
    plain, varied = SimulatedCamera(5, 40, 40), SimulatedCamera(5, 40, 40, iso_stops=3)
    np.testing.assert_array_equal(plain.flat_field(1), varied.flat_field(1))
    noise = [np.abs(plain.natural(i).astype(int) - varied.natural(i)).mean() for i in range(12)]
    assert max(noise) > 4 * min(noise)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_a_phone_of_any_size(height, width):
    phone = SimulatedCamera(3, height, width, noise_reduction=1, sharpening=2, iso_stops=2)
    assert phone.natural(0).shape == (height, width, 3)
    assert phone.natural(0).dtype == np.uint8


@pytest.mark.parametrize(
    "wrong", [{"noise_reduction": 1.1}, {"noise_reduction": -0.1}, {"sharpening": -1}]
)
def test_impossible_processing(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        SimulatedCamera(0, 4, 4, **wrong)


def test_demosaic_refuses_odd_sides():
    with pytest.raises(ValueError, match="even"):
        demosaic(np.zeros((3, 4), dtype=np.float32))


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_a_flat_gray_comes_out_gray_with_the_srgb_curve(height, width):
    camera = SimulatedCamera(0, height, width, prnu_strength=0, gain=0, read_noise=0)
    photo = camera.expose(constant(height, width, (0.2140, 0.2140, 0.2140)), 0)
    # 0.2140 of linear light is sRGB 0.5 (IEC 61966-2-1); 12-bit samples cost at most one level.
    assert np.abs(photo.astype(int) - 127.5).max() <= 1.5


def test_jpeg_carries_the_camera():
    camera = SimulatedCamera(42, 24, 32, make="Maker", model="Model 7")
    with Image.open(io.BytesIO(camera.encode(camera.natural(0), number=3))) as picture:
        exif = picture.getexif()
        details = exif.get_ifd(0x8769)
        assert picture.format == "JPEG"
    assert exif[0x010F] == "Maker"
    assert exif[0x0110] == "Model 7"
    assert exif[0x0132] == details[0x9003] == "2024:01:01 09:21:00"
    assert details[0xA431] == camera.serial == "000042"
    assert camera.camera_id == "maker-model-7-000042"


@pytest.mark.parametrize("quality", [50, 75, 90, 95, 100])
def test_jpeg_has_the_quality(quality):
    camera = SimulatedCamera(1, 16, 16, quality=quality)
    photo = camera.natural(0)
    data = camera.encode(photo)
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality  # the IJG rule
    with Image.open(io.BytesIO(data)) as picture:
        assert picture.quantization[0][0] == max(1, (16 * scale + 50) // 100)
    assert data == SimulatedCamera(1, 16, 16).encode(photo, quality=quality)


@pytest.mark.parametrize(("seed", "height", "width"), [(0, 0, 5), (0, 5, 0), (-1, 5, 5)])
def test_impossible_cameras(seed, height, width):
    with pytest.raises(ValueError, match="camera"):
        SimulatedCamera(seed, height, width)


def test_scene_of_another_size():
    with pytest.raises(ValueError, match=r"\(4, 6, 3\).*\(6, 4, 3\)"):
        SimulatedCamera(0, 6, 4).capture(constant(4, 6, (0, 0, 0)), 0)


def test_fingerprints_identify_as_weakly_as_real_ones():
    """A plain high-pass in place of the residual: matched photos correlate, but only just."""
    size, cameras = 512, [SimulatedCamera(seed, 512, 512) for seed in (21, 22)]

    def photo(camera: SimulatedCamera, rgb: np.ndarray) -> np.ndarray:
        with Image.open(io.BytesIO(camera.encode(rgb))) as picture:
            return np.asarray(picture, dtype=np.float64)[..., 1]

    def residual(x: np.ndarray) -> np.ndarray:
        padded = np.pad(x, 1, mode="edge")
        around = sum(
            padded[i : i + size, j : j + size] for i, j in ((0, 1), (1, 0), (1, 2), (2, 1))
        )
        return np.clip(x - around / 4, -4, 4)

    def identify(x: np.ndarray) -> list[float]:
        w = residual(x)
        return [float(np.corrcoef(w.ravel(), (x * k).ravel())[0, 1]) for k in fingerprints]

    fingerprints = []
    for camera in cameras:
        k = np.mean([residual(photo(camera, camera.flat_field(i))) for i in range(8)], axis=0)
        for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):  # what the Bayer pattern shares
            k[row::2, column::2] -= k[row::2, column::2].mean()
        fingerprints.append(k)
    matched, unmatched = [], []
    for number in range(6):
        scores = identify(photo(cameras[0], cameras[0].natural(number)))
        matched.append(scores[0])
        unmatched.append(scores[1])
    assert min(matched) > 0.02
    assert max(matched) < 0.25
    assert max(map(abs, unmatched)) < 0.01  # 5 standard deviations of chance
