"""Scenes for simulated cameras: linear light, seeded, any size.

A scene is float32 of shape (height, width, 3), linear RGB, never negative; 1.0 is what saturates a
sensor's green pixels. Natural scenes combine the photos that ship inside scikit-image and
scikit-learn with procedural texture, so that bright, dark, smooth, textured and saturated parts
all occur. Nothing is downloaded.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from forensics.records import UserError

Plane = NDArray[np.float32]
Scene = NDArray[np.float32]

_PHOTOS = (
    ("skimage", "data/astronaut.png"),
    ("skimage", "data/chelsea.png"),
    ("skimage", "data/coffee.png"),
    ("skimage", "data/motorcycle_left.png"),
    ("skimage", "data/rocket.jpg"),
    ("sklearn", "datasets/images/china.jpg"),
    ("sklearn", "datasets/images/flower.jpg"),
)
_MATERIALS = (
    ("skimage", "data/brick.png"),
    ("skimage", "data/grass.png"),
    ("skimage", "data/gravel.png"),
)
_PROCEDURAL_SHARE = 0.15


@lru_cache(maxsize=len(_PHOTOS) + len(_MATERIALS))
def _source(package: str, name: str) -> Scene:
    """A shipped picture in linear light, cached and read-only."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise UserError(f"simulated scenes need the package {package}, which is not installed")
    path = Path(spec.origin).parent / name
    if not path.is_file():
        raise UserError(f"simulated scenes need {path}, which this {package} does not ship")
    with Image.open(path) as picture:
        srgb = np.asarray(picture.convert("RGB"), dtype=np.float32) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    linear = linear.astype(np.float32)
    linear.setflags(write=False)
    return linear


def _stretch(plane: Plane, height: int, width: int) -> Plane:
    """Bicubic resize of one plane."""
    picture = Image.fromarray(plane).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(picture, dtype=np.float32)


def value_noise(
    height: int,
    width: int,
    rng: np.random.Generator,
    *,
    coarsest: int,
    finest: int,
    persistence: float = 0.5,
) -> Plane:
    """Multi-octave value noise, float32 (height, width), zero mean and unit standard deviation.

    Octaves have cells of ``coarsest``, ``coarsest / 2`` … down to ``finest`` pixels; each has
    ``persistence`` times the amplitude of the one before.
    """
    # No octave needs a finer grid than half its cell: sum there, enlarge once.
    step = max(1, finest // 2)
    rows, columns = max(1, -(-height // step)), max(1, -(-width // step))
    total = np.zeros((rows, columns), dtype=np.float32)
    cell, amplitude = coarsest, 1.0
    while cell >= finest:
        grid = (max(2, height // cell + 2), max(2, width // cell + 2))
        octave = rng.standard_normal(grid, dtype=np.float32)
        total += np.float32(amplitude) * _stretch(octave, rows, columns)
        cell //= 2
        amplitude *= persistence
    noise = _stretch(total, height, width) if (rows, columns) != (height, width) else total
    noise = noise - np.float32(noise.mean())
    deviation = float(noise.std())
    return noise / np.float32(deviation) if deviation > 0 else noise


def _blend_mask(height: int, width: int, rng: np.random.Generator) -> Plane:
    """Smooth weights in 0..1, mostly near the ends."""
    coarsest = max(4, max(height, width) // 2)
    noise = value_noise(height, width, rng, coarsest=coarsest, finest=max(2, coarsest // 4))
    t: Plane = np.clip(noise + np.float32(0.5), 0, 1)
    return t * t * (3 - 2 * t)


def photo_scene(height: int, width: int, seed: int | list[int]) -> Scene:
    """A crop of one shipped photo, enlarged or reduced to the size, perhaps mirrored."""
    return _photo(height, width, np.random.default_rng(seed))


def _photo(height: int, width: int, rng: np.random.Generator) -> Scene:
    source = _source(*_PHOTOS[rng.integers(len(_PHOTOS))])
    rows, columns = source.shape[:2]
    # The largest box of the wanted shape, then a random part of it.
    scale = min(rows / height, columns / width) * rng.uniform(0.5, 1.0)
    box_height, box_width = height * scale, width * scale
    top = rng.uniform(0, rows - box_height)
    left = rng.uniform(0, columns - box_width)
    box = (left, top, left + box_width, top + box_height)
    scene = np.empty((height, width, 3), dtype=np.float32)
    for channel in range(3):
        plane = Image.fromarray(np.ascontiguousarray(source[..., channel]))
        plane = plane.resize((width, height), Image.Resampling.BICUBIC, box=box)
        scene[..., channel] = np.asarray(plane)
    if rng.random() < 0.5:
        scene = scene[:, ::-1]
    return np.maximum(scene, 0)


def _material(height: int, width: int, rng: np.random.Generator) -> Plane:
    """Fine texture of a shipped material at its own resolution, mirrored to cover the size."""
    source = _source(*_MATERIALS[rng.integers(len(_MATERIALS))])[..., 0]
    rows, columns = source.shape
    tile = np.block([[source, source[:, ::-1]], [source[::-1], source[::-1, ::-1]]])
    top, left = rng.integers(2 * rows), rng.integers(2 * columns)
    y = (np.arange(height) + top) % (2 * rows)
    x = (np.arange(width) + left) % (2 * columns)
    texture: Plane = tile[y[:, None], x[None, :]]
    return texture / np.float32(source.mean())


def procedural_scene(height: int, width: int, seed: int | list[int]) -> Scene:
    """Fractal ground, a gradient, a field of stripes and a few flat ellipses."""
    return _procedural(height, width, np.random.default_rng(seed))


def _procedural(height: int, width: int, rng: np.random.Generator) -> Scene:
    y = (np.arange(height, dtype=np.float32) / max(height, width))[:, None]
    x = (np.arange(width, dtype=np.float32) / max(height, width))[None, :]
    angle, slope = rng.uniform(0, 2 * np.pi), rng.uniform(0, 1.5)
    coarsest = max(4, max(height, width) // 3)
    ground = value_noise(height, width, rng, coarsest=coarsest, finest=2, persistence=0.6)
    direction = np.float32(np.cos(angle)) * x + np.float32(np.sin(angle)) * y
    light = np.exp(np.float32(0.5) * ground + np.float32(slope) * direction)

    period, turn = rng.uniform(6, 40) / max(height, width), rng.uniform(0, np.pi)
    phase = (np.float32(np.cos(turn)) * x + np.float32(np.sin(turn)) * y) / np.float32(period)
    stripes = 1 + np.float32(0.5) * np.sin(np.float32(2 * np.pi) * phase)
    light *= 1 + _blend_mask(height, width, rng) * (stripes - 1)

    scene = light[..., None] * rng.uniform(0.5, 1.0, 3).astype(np.float32)
    for _ in range(rng.integers(2, 6)):
        centre_y, centre_x = rng.uniform(0, 1, 2)
        radius_y, radius_x = rng.uniform(0.04, 0.2, 2)
        distance = ((y - np.float32(centre_y)) / np.float32(radius_y)) ** 2
        distance = distance + ((x - np.float32(centre_x)) / np.float32(radius_x)) ** 2
        scene[distance < 1] = rng.uniform(0.02, 2.5, 3) * light.mean()
    return scene


def natural_scene(height: int, width: int, seed: int | list[int]) -> Scene:
    """Natural content: photos blended over smooth borders, surface texture, uneven light, exposure.

    The mean is 0.12..0.32 of saturation, as a camera's metering gives; highlights go above 1.
    """
    rng = np.random.default_rng(seed)
    if rng.random() < _PROCEDURAL_SHARE:
        scene = _procedural(height, width, rng)
    else:
        scene = _photo(height, width, rng)
        if rng.random() < 0.6:
            weight = _blend_mask(height, width, rng)[..., None]
            scene += weight * (_photo(height, width, rng) - scene)
    # Enlarged photos lack fine detail; surfaces in parts of the picture give it back.
    share = np.float32(rng.uniform(0.05, 0.5)) * _blend_mask(height, width, rng)
    texture = 1 + share * (_material(height, width, rng) - 1)
    coarsest = max(4, max(height, width))
    light = value_noise(height, width, rng, coarsest=coarsest, finest=max(2, coarsest // 4))
    scene *= (texture * np.exp(np.float32(0.3) * light))[..., None]
    mean = float(scene.mean())
    target = rng.uniform(0.12, 0.32)
    return scene * np.float32(target / mean) if mean > 0 else scene


def flat_scene(height: int, width: int, seed: int | list[int]) -> Scene:
    """A defocused bright wall: one light tint, a faint gradient, slight vignetting."""
    rng = np.random.default_rng(seed)
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    level, fall = rng.uniform(0.45, 0.7), rng.uniform(0.05, 0.12)
    slope_y, slope_x = rng.uniform(-0.05, 0.05, 2).astype(np.float32)
    light = 1 - np.float32(fall) * (x * x + y * y) + slope_x * x + slope_y * y
    tint = (level * rng.uniform(0.93, 1.0, 3)).astype(np.float32)
    scene: Scene = light[..., None] * tint
    return scene
