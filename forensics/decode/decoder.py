"""Bytes to pixels on the sensor grid: strict, bounded, and with a reason where it fails."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from PIL import ImageFile

from forensics.decode import deep
from forensics.decode.exif import read_exif
from forensics.decode.jpeg import estimate_quality
from forensics.decode.openers import Avif, Jpeg, Tiff, first_int, open_image, reasons
from forensics.records import Image, Rgb, Unreadable

_TILE_WIDTH, _TILE_LENGTH = 322, 323  # TIFF tags
_TIFF_PARTS: Final = ((273, 279), (324, 325))  # tags: offsets and byte counts of strips, of tiles
_PNG_CRITICAL: Final = (b"IHDR", b"PLTE", b"IDAT")


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says of itself before its pixels are decoded; fields as in ``Image``."""

    format: str
    width: int  # pixels as stored: orientation not applied
    height: int
    exif: Mapping[str, str] = field(default_factory=dict)
    orientation: int = 1
    jpeg_quality: int | None = None


def decode(data: bytes, *, max_megapixels: float = 200.0) -> Image:
    """Decode an image file.

    Formats: AVIF, BMP, GIF, JPEG (baseline, progressive, arithmetic; grey, YCbCr, RGB, CMYK, YCCK;
    MPO), PNG, TIFF, WebP: what cameras, phones, editors and web sites write, by decoders that start
    no other program. Of several pictures in a file (MPO, GIF, APNG, TIFF) the first counts.

    Pixels are as stored: no EXIF rotation, no colour management. Grey is replicated to three
    channels, palettes are looked up, CMYK becomes (255 - ink) * (255 - black) / 255 (Pillow's
    formula; inks as Adobe stores them). Alpha and transparent colours are ignored: the colour
    samples stay as stored. Samples deeper than 8 bit are scaled by the full range of their depth,
    rounded, never clipped: 16 bit by round(v * 255 / 65535), 12 bit by round(v * 255 / 4095), 32
    bit likewise; signed ones are shifted by half the range first. Floats become round(v * 255), or,
    if any lies outside 0..1, are stretched from the image's own minimum..maximum.

    Args:
        data: the whole file.
        max_megapixels: an image with more (1 MP = 10**6 pixels) is refused before anything is
            allocated for its pixels.

    Returns:
        The image; ``pixels`` is a new, writeable, contiguous array.

    Raises:
        Unreadable: damaged, truncated, too large, or no image of these formats; with the reason.
            Nothing else is raised, whatever the bytes are. Safe to call from several threads.
    """
    image = open_image(data)
    name = _format(image)
    with reasons(f"{name} cannot be decoded"):
        _check_size(image, max_megapixels)
        _check_integrity(image, data)
        quality = _jpeg_quality(image)
        if name != "PNG":
            exif, orientation = read_exif(image)  # loading closes a TIFF
        pixels, bit_depth = _pixels(image, data, max_megapixels)
        if name == "PNG":
            exif, orientation = read_exif(image)  # it may come after the pixels
        return Image(pixels, name, bit_depth, quality, orientation, exif)


def probe(data: bytes) -> Header:
    """The header of an image file; no pixel is decoded, and no size is refused.

    Args:
        data: the file. Of JPEG, PNG, BMP and GIF the beginning will do: 64 KB as a rule, 256 KB
            where profiles and previews come first. AVIF, TIFF and WebP need the whole.

    Raises:
        Unreadable: as ``decode``, and where the header goes on behind the end of ``data``.
    """
    image = open_image(data)
    with reasons(f"{image.format} header cannot be read"):
        width, height = image.size
        exif, orientation = read_exif(image)
        return Header(_format(image), width, height, exif, orientation, _jpeg_quality(image))


def _format(image: ImageFile.ImageFile) -> str:
    if isinstance(image, Jpeg) and "mp" in image.info:  # the index of a multi-picture file
        return "MPO"
    return str(image.format)


def _jpeg_quality(image: ImageFile.ImageFile) -> int | None:
    if not isinstance(image, Jpeg):
        return None
    tables = [image.quantization.get(component[3]) for component in image.layer[:2]]
    if not tables or tables[0] is None:
        return None
    return estimate_quality(tables[0], tables[1] if len(tables) == 2 else None)


def _check_size(image: ImageFile.ImageFile, max_megapixels: float) -> None:
    sizes = {"image": image.size}
    if isinstance(image, Tiff):  # a decoder allocates one tile, whatever the size of the image
        tags = image.tag_v2
        sizes["tile"] = (first_int(tags.get(_TILE_WIDTH), 1), first_int(tags.get(_TILE_LENGTH), 1))
    for what, (width, height) in sizes.items():
        megapixels = width * height / 1e6
        if megapixels > max_megapixels:
            raise Unreadable(
                f"{what} of {width} x {height} pixels: {megapixels:.1f} MP exceeds the limit of "
                f"{max_megapixels:g} MP (setting max_megapixels)"
            )


def _check_integrity(image: ImageFile.ImageFile, data: bytes) -> None:
    """What the decoders let pass, or report on standard error only."""
    if image.format == "PNG":
        _check_png(data)
    elif isinstance(image, Tiff) and image.use_load_libtiff:
        for offsets, counts in _TIFF_PARTS:
            parts = zip(image.tag_v2.get(offsets, ()), image.tag_v2.get(counts, ()), strict=False)
            if any(offset + count > len(data) for offset, count in parts):
                raise Unreadable("TIFF cannot be decoded: image file is truncated")


def _check_png(data: bytes) -> None:
    """Checksums of the chunks that make the pixels; Pillow does not look at those of IDAT."""
    position, view = 8, memoryview(data)
    while position + 12 <= len(data):
        kind = data[position + 4 : position + 8]
        end = position + 8 + int.from_bytes(view[position : position + 4])
        if kind in _PNG_CRITICAL and end + 4 <= len(data):
            stored = int.from_bytes(view[end : end + 4])
            if zlib.crc32(view[position + 4 : end]) != stored:
                raise Unreadable(f"PNG cannot be decoded: wrong checksum in {kind.decode()}")
        if kind == b"IEND":
            break
        position = end + 4


def _pixels(image: ImageFile.ImageFile, data: bytes, max_megapixels: float) -> tuple[Rgb, int]:
    if isinstance(image, Tiff) and image.foreign:
        return deep.foreign_tiff(data, max_megapixels * 1e6, image.foreign)
    if deep.is_deep_colour(image):
        return deep.deep_colour(lambda: open_image(data)), 16
    image.load()
    if image.mode.startswith(("I", "F")):
        return deep.deep_grey(image)
    return _eight_bit(image), _bit_depth(image, data)


def _bit_depth(image: ImageFile.ImageFile, data: bytes) -> int:
    """Of an image whose pixels Pillow gives in 8 bit or fewer."""
    if image.mode == "1":
        return 1
    if image.mode in ("P", "PA"):
        return 8  # of the colours, however few bits an index has
    if image.format == "PNG":
        return data[24]  # in IHDR
    if isinstance(image, Tiff):
        return image.bits
    if isinstance(image, Avif):
        box = data.find(b"av1C")
        flags = data[box + 6] if 0 <= box < len(data) - 6 else 0
        return (12 if flags & 0x20 else 10) if flags & 0x40 else 8
    return 8


def _eight_bit(image: ImageFile.ImageFile) -> Rgb:
    """The loaded image as RGB, a few rows at a time: no second copy, and the rows stay in cache."""
    image.info.pop("transparency", None)  # colours stay as stored
    width, height = image.im.size
    out = np.empty((height, width, 3), np.uint8)
    for rows in deep.strips(width, height):
        part = image.crop((0, rows.start, width, rows.stop))
        if part.mode == "La":
            part = part.convert("LA")
        out[rows] = np.asarray(part if part.mode == "RGB" else part.convert("RGB"))
    return out
