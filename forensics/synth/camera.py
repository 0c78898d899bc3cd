"""Simulated cameras: a scene in linear light in, an 8-bit photo or its JPEG file out.

Sensor model: ``y = x·(1 + K) + noise`` per Bayer pixel, noise variance ``gain·x + read_noise²``
(Poisson-Gaussian, the Gaussian approximation of Foi, Trimeche, Katkovnik, Egiazarian 2008,
doi:10.1109/TIP.2008.2001399), ``x`` and ``y`` in units of saturation. K is the photo-response
non-uniformity (PRNU): the fingerprint that the analysis looks for. Phone-like cameras also smooth
noise and sharpen.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from forensics.records import Rgb
from forensics.synth.processing import reduce_noise, sharpen
from forensics.synth.scenes import Plane, Scene, flat_scene, natural_scene

Raw = NDArray[np.uint16]
"""Bayer mosaic (RGGB) of even height and width, 12-bit samples 0..4095 on a black level of 256."""

_WHITE, _BLACK = 4095, 256
# Silicon sees red and blue less than green; white balance undoes it.
_SENSITIVITY = np.array([0.6, 1.0, 0.7], dtype=np.float32)
_SUBLATTICES = ((0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 2))  # row, column, channel of RGGB
_FIRST_DAY = datetime(2024, 1, 1, 9)
# What is left of a channel's noise variance after bilinear demosaicing, averaged over its pixels.
_DEMOSAICED = np.array([9 / 16, 5 / 8, 9 / 16], dtype=np.float32)
_FLAT, _NATURAL, _PRNU = 1, 2, 3  # keep the random streams of one camera apart
_MAKE, _MODEL, _DATE_TIME = 0x010F, 0x0110, 0x0132
_EXIF_IFD, _DATE_TIME_ORIGINAL, _BODY_SERIAL_NUMBER = 0x8769, 0x9003, 0xA431


def _tone_table() -> NDArray[np.uint8]:
    """sRGB transfer curve from 16-bit linear light to 8 bit."""
    x = np.arange(65536) / 65535
    curve = np.where(x <= 0.0031308, 12.92 * x, 1.055 * x ** (1 / 2.4) - 0.055)
    table: NDArray[np.uint8] = np.rint(255 * curve).astype(np.uint8)
    return table


_TONE = _tone_table()


@dataclass(frozen=True)
class SimulatedCamera:
    """One device. The same fields always give the same pixels and the same files.

    Two cameras with different seeds share no PRNU; they share demosaicing and JPEG artefacts, as
    two units of one model do. All noise figures are fractions of saturation.
    """

    seed: int
    height: int  # pixels
    width: int  # pixels
    prnu_strength: float = 0.012  # standard deviation of K
    gain: float = 4e-4  # shot-noise variance per unit of signal: 1 / full-well electrons
    read_noise: float = 3e-3  # standard deviation
    quality: int = 95  # JPEG, 1..100
    make: str = "Simulated"
    model: str = "S100"
    noise_reduction: float = 0.0  # 0..1: share of the noise that flat regions lose
    sharpening: float = 0.0  # times the fine detail that is added to luma
    iso_stops: float = 0.0  # natural photos raise the sensitivity by 0 to so many stops

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1:
            raise ValueError(f"a camera needs at least 1x1 pixels, not {self.height}x{self.width}")
        if self.seed < 0:
            raise ValueError(f"a camera's seed must not be negative: {self.seed}")
        if not 0 <= self.noise_reduction <= 1:
            raise ValueError(f"a camera's noise_reduction is 0..1, not {self.noise_reduction}")
        if self.sharpening < 0 or self.iso_stops < 0:
            given = f"{self.sharpening} and {self.iso_stops}"
            raise ValueError(f"a camera's sharpening and iso_stops are not negative: {given}")

    @property
    def serial(self) -> str:
        return f"{self.seed:06d}"

    @property
    def camera_id(self) -> str:
        """Make, model and serial in lower case, joined by hyphens."""
        return f"{self.make}-{self.model}-{self.serial}".lower().replace(" ", "-")

    @cached_property
    def prnu(self) -> Plane:
        """K of every sensor pixel: float32, zero-mean Gaussian, sides rounded up to even."""
        shape = (self.height + self.height % 2, self.width + self.width % 2)
        rng = np.random.default_rng([self.seed, _PRNU])
        k = rng.standard_normal(shape, dtype=np.float32) * np.float32(self.prnu_strength)
        k.setflags(write=False)
        return k

    def capture(self, scene: Scene, seed: int | list[int], iso: float = 1.0) -> Raw:
        """The sensor's samples for a scene of the camera's size (float32, 1.0 saturates green).

        ``iso`` is the sensitivity in units of the base one: so much less light is collected for
        the same brightness.
        """
        if scene.shape != (self.height, self.width, 3):
            expected = (self.height, self.width, 3)
            raise ValueError(f"scene has shape {scene.shape}, this camera needs {expected}")
        odd = ((0, self.height % 2), (0, self.width % 2), (0, 0))
        scene = np.pad(scene, odd, mode="edge") if self.height % 2 or self.width % 2 else scene
        light = np.empty(scene.shape[:2], dtype=np.float32)
        for row, column, channel in _SUBLATTICES:
            light[row::2, column::2] = scene[row::2, column::2, channel] * _SENSITIVITY[channel]
        light *= 1 + self.prnu
        noise = np.random.default_rng(seed).standard_normal(light.shape, dtype=np.float32)
        noise *= np.sqrt(
            np.float32(self.gain * iso) * light + np.float32((self.read_noise * iso) ** 2)
        )
        light += noise
        return np.rint(np.clip(light * (_WHITE - _BLACK) + _BLACK, 0, _WHITE)).astype(np.uint16)

    def develop(self, raw: Raw, iso: float = 1.0) -> Rgb:
        """Demosaic (bilinear), balance white, apply the sRGB curve: uint8 (height, width, 3).

        Noise reduction, which knows the noise at ``iso``, precedes the curve; sharpening follows.
        """
        light = (raw.astype(np.float32) - np.float32(_BLACK)) / np.float32(_WHITE - _BLACK)
        rgb = demosaic(light)[: self.height, : self.width]
        rgb *= 65535 / _SENSITIVITY
        if self.noise_reduction:
            scale = np.float32(65535) / _SENSITIVITY
            shot = _DEMOSAICED * scale * np.float32(self.gain * iso)
            floor = _DEMOSAICED * scale**2 * np.float32((self.read_noise * iso) ** 2)
            rgb = reduce_noise(np.minimum(rgb, 65535), shot, floor, self.noise_reduction)
        rgb += 0.5
        photo: Rgb = _TONE[np.clip(rgb, 0, 65535, out=rgb).astype(np.uint16)]
        return sharpen(photo, self.sharpening) if self.sharpening else photo

    def expose(self, scene: Scene, seed: int | list[int], iso: float = 1.0) -> Rgb:
        """The photo of a scene before compression: uint8 (height, width, 3)."""
        return self.develop(self.capture(scene, seed, iso), iso)

    def encode(self, rgb: Rgb, *, quality: int | None = None, number: int = 0) -> bytes:
        """A JPEG file (4:2:0) with make, model, serial and the date of photo ``number``."""
        taken = (_FIRST_DAY + timedelta(minutes=7 * number)).strftime("%Y:%m:%d %H:%M:%S")
        exif = Image.Exif()
        exif[_MAKE], exif[_MODEL], exif[_DATE_TIME] = self.make, self.model, taken
        exif[_EXIF_IFD] = {_DATE_TIME_ORIGINAL: taken, _BODY_SERIAL_NUMBER: self.serial}
        file = io.BytesIO()
        Image.fromarray(rgb).save(
            file, "JPEG", quality=self.quality if quality is None else quality, exif=exif
        )
        return file.getvalue()

    def flat_field(self, number: int) -> Rgb:
        """Photo ``number`` of an evenly lit wall, for fingerprints: uint8 (height, width, 3)."""
        seed = [self.seed, _FLAT, number]
        return self.expose(flat_scene(self.height, self.width, [*seed, 0]), [*seed, 1])

    def natural(self, number: int) -> Rgb:
        """Photo ``number`` of natural content: uint8 (height, width, 3)."""
        seed = [self.seed, _NATURAL, number]
        iso = 2.0 ** np.random.default_rng([*seed, 2]).uniform(0, self.iso_stops)
        return self.expose(natural_scene(self.height, self.width, [*seed, 0]), [*seed, 1], iso)


def demosaic(mosaic: Plane) -> Scene:
    """Bilinear interpolation of an RGGB mosaic.

    ``mosaic`` is float32 (H, W), H and W even; the result is float32 (H, W, 3). Borders mirror
    about the outermost pixel, so that a flat colour comes back exactly.
    """
    if mosaic.shape[0] % 2 or mosaic.shape[1] % 2:
        raise ValueError(f"a Bayer mosaic has even sides, not {mosaic.shape}")
    rgb = np.empty((*mosaic.shape, 3), dtype=np.float32)
    red, green_r = mosaic[0::2, 0::2], mosaic[0::2, 1::2]
    green_b, blue = mosaic[1::2, 0::2], mosaic[1::2, 1::2]

    right, below = _shift(red, 1, 1), _shift(red, 0, 1)
    rgb[0::2, 0::2, 0] = red
    rgb[0::2, 1::2, 0] = (red + right) / 2
    rgb[1::2, 0::2, 0] = (red + below) / 2
    rgb[1::2, 1::2, 0] = (red + right + below + _shift(right, 0, 1)) / 4

    left, above = _shift(blue, 1, -1), _shift(blue, 0, -1)
    rgb[1::2, 1::2, 2] = blue
    rgb[1::2, 0::2, 2] = (blue + left) / 2
    rgb[0::2, 1::2, 2] = (blue + above) / 2
    rgb[0::2, 0::2, 2] = (blue + left + above + _shift(left, 0, -1)) / 4

    rgb[0::2, 1::2, 1] = green_r
    rgb[1::2, 0::2, 1] = green_b
    rgb[0::2, 0::2, 1] = (green_r + _shift(green_r, 1, -1) + green_b + _shift(green_b, 0, -1)) / 4
    rgb[1::2, 1::2, 1] = (green_r + _shift(green_r, 0, 1) + green_b + _shift(green_b, 1, 1)) / 4
    return rgb


def _shift(plane: Plane, axis: int, by: int) -> Plane:
    """The neighbour one step ahead (``by`` = 1) or behind (-1); the border repeats."""
    size = plane.shape[axis]
    index = np.clip(np.arange(size) + by, 0, size - 1)
    return np.take(plane, index, axis=axis)
