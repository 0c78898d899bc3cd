"""Samples deeper than 8 bit: read exactly, scaled to 0..255 with rounding, never clipped.

Pillow has no mode for more than 8 bit per channel in colour: it keeps the high byte and drops the
rest. But it can read the same file with the bytes of each sample swapped, and then it keeps the low
byte, so two passes give all 16 bit, for every compression and for interlaced files.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
import PIL.Image
import tifffile
from numpy.typing import NDArray
from PIL import ImageFile
from PIL.ImageFile import _Tile

from forensics.decode.openers import Tiff, first_int
from forensics.records import Rgb, Unreadable

STRIP: Final = 1 << 18  # pixels converted at a time: they stay in the cache

_MAX_SAMPLES: Final = 6  # per pixel, as in Pillow
_PHOTOMETRIC, _SAMPLE_FORMAT = 262, 339  # TIFF tags
_MIN_IS_WHITE, _MIN_IS_BLACK, _RGB = 0, 1, 2  # values of the photometric tag

_BYTE_SWAPPED: Final = {
    "16B": "16L",
    "16L": "16B",
    "16N": "16B" if sys.byteorder == "little" else "16L",
}


def strips(width: int, height: int) -> Iterator[slice]:
    """Row ranges that cover an image, about ``STRIP`` pixels each."""
    step = max(1, STRIP // width)
    return (slice(y, min(y + step, height)) for y in range(0, height, step))


def scale_to_uint8(samples: NDArray[Any], bits: int | None = None) -> NDArray[np.uint8]:
    """Samples of any type as uint8, same shape.

    Unsigned integers of ``bits`` bit (default: all of the type's): round(v * 255 / (2**bits - 1));
    larger values, which such a file must not have, count as the largest. Signed integers: the
    same, after adding half the range. Floats in 0..1: round(v * 255); if any lie outside, all are
    stretched from the image's own minimum..maximum instead.

    Raises:
        Unreadable: float samples that are not finite.
    """
    if samples.dtype.kind not in "iuf":
        raise Unreadable(f"samples of type {samples.dtype} are not supported")
    to_uint8 = (
        _float_scaler(samples) if samples.dtype.kind == "f" else _integer_scaler(samples, bits)
    )
    out = np.empty(samples.shape, np.uint8)
    step = max(1, STRIP * samples.shape[0] // max(1, samples.size))
    for y in range(0, samples.shape[0], step):
        out[y : y + step] = to_uint8(samples[y : y + step])
    return out


def is_deep_colour(image: ImageFile.ImageFile) -> bool:
    """Whether an opened, not yet loaded image has colour samples of 16 bit."""
    return ";16" in _rawmode(image) and not image.mode.startswith("I")


def deep_colour(open_again: Callable[[], ImageFile.ImageFile]) -> Rgb:
    """16-bit RGB, RGBA, CMYK or grey with alpha as uint8 (H, W, 3). Alpha is ignored.

    Args:
        open_again: gives the image, opened and not yet loaded, each time it is called.
    """
    high = open_again()
    rawmode = _rawmode(high)
    if rawmode == "LA;16B":  # 32 bit per pixel: read as if they were four channels
        _set_rawmode(high, "RGBA")
        high.load()
        low = None
    else:
        colour, _, order = rawmode.rpartition(";")
        colour = "RGBA" if colour == "RGBa" else colour  # the samples as stored
        low = open_again()
        _set_rawmode(high, f"{colour};{order}")
        _set_rawmode(low, f"{colour};{_BYTE_SWAPPED[order]}")
        high.load()
        low.load()
    width, height = high.im.size
    out = np.empty((height, width, 3), np.uint8)
    for rows in strips(width, height):
        box = (0, rows.start, width, rows.stop)
        first = np.asarray(high.crop(box))
        if low is None:
            out[rows] = scale_to_uint8(_join(first[..., :1], first[..., 1:2]))
            continue
        eight = scale_to_uint8(_join(first, np.asarray(low.crop(box))))
        if high.mode == "CMYK":
            inks = PIL.Image.frombytes("CMYK", (width, rows.stop - rows.start), eight.tobytes())
            out[rows] = np.asarray(inks.convert("RGB"))
        else:
            out[rows] = eight[..., :3]
    return out


def deep_grey(image: ImageFile.ImageFile) -> tuple[Rgb, int]:
    """A loaded grey image of more than 8 bit (Pillow's modes I;16, I and F), and its depth."""
    samples = np.asarray(image)
    bits, inverted = samples.dtype.itemsize * 8, False
    if isinstance(image, Tiff):
        bits = image.bits
        inverted = image.tag_v2.get(_PHOTOMETRIC) == _MIN_IS_WHITE
        signed = first_int(image.tag_v2.get(_SAMPLE_FORMAT), 1) == 2
        if image.mode == "I":  # int32 in Pillow, whatever the file has
            samples = samples.astype(f"{'i' if signed else 'u'}{bits // 8}")
    return _replicate(
        scale_to_uint8(samples, None if samples.dtype.kind != "u" else bits), inverted
    ), bits


def foreign_tiff(data: bytes, max_pixels: float, why: str) -> tuple[Rgb, int]:
    """A TIFF whose pixels Pillow cannot read (float or 32-bit colour, deep planes), and its depth.

    Grey or RGB of any sample type, as far as tifffile decodes it without further packages:
    uncompressed, Deflate, LZMA, PackBits. First page; further channels (alpha) are ignored.

    Args:
        max_pixels: limit for image and tile, checked again because another parser reads the sizes.
        why: why Pillow cannot read it, for the message.
    """
    with tifffile.TiffFile(io.BytesIO(data)) as tiff:
        page = tiff.pages.first
        if page.imagewidth * page.imagelength > max_pixels or (
            page.is_tiled and page.tilewidth * page.tilelength * page.tiledepth > max_pixels
        ):
            raise Unreadable("image or tile of the TIFF is larger than the limit")
        photometric = int(page.photometric)
        planes, depth, height, width, channels = page.shaped
        colours = {_MIN_IS_WHITE: 1, _MIN_IS_BLACK: 1, _RGB: 3}.get(photometric)
        if colours is None or depth != 1 or not colours <= planes * channels <= _MAX_SAMPLES:
            raise Unreadable(
                f"TIFF layout is not supported ({why}: photometric {photometric}, "
                f"{planes * channels} samples per pixel)"
            )
        samples = page.asarray(maxworkers=1).reshape(page.shaped)[:, 0]
        bits = int(page.bitspersample)
    samples = np.moveaxis(samples, 0, -2).reshape(height, width, planes * channels)[..., :colours]
    eight = scale_to_uint8(samples, bits if samples.dtype.kind == "u" else None)
    return _replicate(eight, photometric == _MIN_IS_WHITE), bits


def _replicate(samples: NDArray[np.uint8], inverted: bool) -> Rgb:
    """(H, W), (H, W, 1) or (H, W, 3) as (H, W, 3)."""
    if inverted:
        samples = np.subtract(255, samples, dtype=np.uint8)
    if samples.ndim == 2:
        samples = samples[..., None]
    out = np.empty((*samples.shape[:2], 3), np.uint8)
    out[:] = samples
    return out


def _float_scaler(samples: NDArray[Any]) -> Callable[[NDArray[Any]], NDArray[Any]]:
    low, high = float(samples.min()), float(samples.max())
    if not np.isfinite(low) or not np.isfinite(high):
        raise Unreadable("float samples that are not finite (NaN or infinity)")
    if low >= 0.0 and high <= 1.0:
        low, high = 0.0, 1.0
    half_span = (high / 2 - low / 2) or 1.0  # halves, because high - low can overflow
    return lambda v: np.rint((v.astype(np.float64) / 2 - low / 2) * (255 / half_span))


def _integer_scaler(
    samples: NDArray[Any], bits: int | None
) -> Callable[[NDArray[Any]], NDArray[Any]]:
    full = samples.dtype.itemsize * 8
    top = 2 ** (bits or full) - 1
    offset = 2 ** (full - 1) if samples.dtype.kind == "i" else 0
    if full <= 16:
        patterns = np.minimum(np.arange(2**full), top)
        table = np.rint(patterns * (255 / top)).astype(np.uint8)
        return lambda v: table[v.astype(np.int32) + offset] if offset else table[v]
    return lambda v: np.rint(np.minimum(v.astype(np.float64) + offset, top) * (255 / top))


def _join(high: NDArray[np.uint8], low: NDArray[np.uint8]) -> NDArray[np.uint16]:
    return high.astype(np.uint16) * np.uint16(256) + low


def _rawmode(image: ImageFile.ImageFile) -> str:
    args = image.tile[0].args if image.tile else ""
    return str(args[0] if isinstance(args, tuple) else args)


def _set_rawmode(image: ImageFile.ImageFile, rawmode: str) -> None:
    def change(tile: _Tile) -> _Tile:
        rest = tile.args[1:] if isinstance(tile.args, tuple) else None
        return tile._replace(args=rawmode if rest is None else (rawmode, *rest))

    image.tile = [change(tile) for tile in image.tile]
