"""Which image formats are opened, by what they begin with, and how Pillow is kept from more.

Pillow's classes are used directly: an explicit list instead of everything that is installed, and
the class's own reason where it fails instead of "cannot identify image file".
"""

from __future__ import annotations

import io
import logging
import re
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, cast

import PIL.Image
from PIL import ImageFile
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from forensics.records import Unreadable

# The decoder checks sizes, against a setting, before pixels are allocated. Pillow's own limit
# is one number per process: changing it around each call would not be thread-safe.
PIL.Image.MAX_IMAGE_PIXELS = None

# Both libraries log what they then raise, and Python prints logs that nobody handles.
for _name in ("PIL", "tifffile"):
    logging.getLogger(_name).addHandler(logging.NullHandler())

_PIL_MODULES: Final = r"PIL\."
_QUIET: Final = ("ignore", None, Warning, re.compile(_PIL_MODULES), 0)
_MAX_REASON: Final = 200  # characters
_AVIF_EXIF_ITEM: Final = re.compile(rb"(infe.{8})Exif", re.DOTALL)
_PLAINER: Final = {
    "not identified by this driver": "no image dimensions in the header",
    "cannot load this image": "no pixel data",
    "decoder error -2": "broken data stream",
}

DNG_VERSION: Final = 50706
NEW_SUBFILE_TYPE: Final = 254
BITS_PER_SAMPLE: Final = 258


class Jpeg(JpegImageFile):
    """Pillow looks for a resolution in the EXIF, where hostile data can make it fail."""

    def _read_dpi_from_exif(self) -> None:
        pass


class Tiff(TiffImageFile):
    """Pixels as stored (Pillow turns TIFF, and only TIFF, upright); layouts Pillow cannot read.

    ``foreign`` says why Pillow cannot read the pixels, None where it can.
    """

    foreign: str | None = None
    use_load_libtiff = False  # set late by Pillow, not where it gives up

    def _setup(self) -> None:
        try:
            super()._setup()
        except KeyError as error:
            raise OSError(f"compression {error} is not supported") from error
        except SyntaxError as error:  # a sample layout that Pillow does not know
            self.foreign, self._mode = str(error), "RGB"
        if self._planar_configuration == 2 and self.bits > 8:
            self.foreign = "planes of deep samples"  # Pillow would read them as 8 bit
        self._size = self._tile_size

    def load_end(self) -> None:
        pass

    @property
    def bits(self) -> int:
        """Bits per sample, of the first channel."""
        return first_int(self.tag_v2.get(BITS_PER_SAMPLE), 1)


class Gif(GifImageFile):
    """Pillow allocates what follows a frame when it opens it; only the first frame is wanted."""

    @property
    def disposal_method(self) -> int:
        return 0

    @disposal_method.setter
    def disposal_method(self, value: int) -> None:
        pass


class Avif(AvifImageFile):
    """Broken EXIF is no reason not to open a file; to libavif, and to Pillow, it is."""

    def _open(self) -> None:
        try:
            super()._open()
        except Exception:
            if not self._mode:  # libavif refused, perhaps because of an EXIF item: rename those
                data = cast(io.BytesIO, self.fp).getvalue()
                self.fp = io.BytesIO(_AVIF_EXIF_ITEM.sub(rb"\1none", data))
                super()._open()
            self.seek(0)


_SUPPORTED: Final[tuple[tuple[re.Pattern[bytes], type[ImageFile.ImageFile]], ...]] = (
    (re.compile(rb"\xff\xd8\xff"), Jpeg),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), PngImageFile),
    (re.compile(rb"II[*+]\0|MM\0[*+]"), Tiff),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), WebPImageFile),
    (re.compile(rb"BM"), BmpImageFile),
    (re.compile(rb"GIF8[79]a"), Gif),
    (re.compile(rb"....ftyp.{0,64}avi[fs]", re.DOTALL), Avif),
)
_UNSUPPORTED: Final = (
    (re.compile(rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51"), "JPEG 2000"),
    (re.compile(rb"\0\0\0\x0cJXL |\xff\x0a"), "JPEG XL"),
    (re.compile(rb"....ftyp(?:hei|hev|mif|msf)", re.DOTALL), "HEIF"),
    (re.compile(rb"....ftypcrx|FUJIFILMCCD-RAW|II(?:RO|RS|U\0)", re.DOTALL), "raw photo"),
    (re.compile(rb"....ftyp", re.DOTALL), "MP4 or QuickTime"),
    (re.compile(rb"8BPS"), "Photoshop"),
    (re.compile(rb"%!PS|\xc5\xd0\xd3\xc6"), "PostScript"),
    (re.compile(rb"%PDF"), "PDF"),
    (re.compile(rb"\0\0[\1\2]\0"), "Windows icon"),
    (re.compile(rb"DDS "), "DDS"),
    (re.compile(rb"P[1-7]\s"), "PNM"),
    (re.compile(rb"qoif"), "QOI"),
    (re.compile(rb"\s*<(?:\?xml|svg|!DOCTYPE|html)", re.IGNORECASE), "XML or HTML"),
)


def open_image(data: bytes) -> ImageFile.ImageFile:
    """The image, opened but not decoded.

    Raises:
        Unreadable: empty, of a format that is not in the list, or with a damaged header.
    """
    if not data:
        raise Unreadable("the file is empty")
    for pattern, opener in _SUPPORTED:
        if pattern.match(data):
            with reasons(f"{opener.format} cannot be opened"):
                image = opener(io.BytesIO(data))
            if isinstance(image, Tiff):
                _refuse_raw(image, data)
            return image
    supported = "supported: AVIF, BMP, GIF, JPEG, PNG, TIFF, WebP"
    for pattern, name in _UNSUPPORTED:
        if pattern.match(data):
            raise Unreadable(f"format {name} is not supported ({supported})")
    raise Unreadable(f"not an image of a known format ({supported})")


@contextmanager
def reasons(failure: str) -> Iterator[None]:
    """Whatever goes wrong inside becomes ``Unreadable(f"{failure}: {reason}")``.

    Pillow's warnings are silenced, for good: they are about metadata, and switching filters on and
    off, as ``warnings.catch_warnings`` does, is not thread-safe. The check comes back at each call
    because other code does switch them.
    """
    if _QUIET not in warnings.filters:
        warnings.filterwarnings("ignore", module=_PIL_MODULES)
    try:
        yield
    except Unreadable:
        raise
    except Exception as error:
        raise Unreadable(f"{failure}: {_plain(error)}") from error


def first_int(value: Any, default: int) -> int:
    """A TIFF tag's value, or its first, where that is a whole number; else the default."""
    if isinstance(value, tuple):
        value = value[0] if value else default
    return value if isinstance(value, int) else default


def _refuse_raw(image: Tiff, data: bytes) -> None:
    """Raw photos are TIFF files whose first picture is a preview, not what the sensor saw."""
    preview = first_int(image.tag_v2.get(NEW_SUBFILE_TYPE), 0) & 1
    if DNG_VERSION in image.tag_v2 or data[8:10] == b"CR" or preview:
        raise Unreadable("format raw photo (a TIFF that begins with a preview) is not supported")


def _plain(error: Exception) -> str:
    inner = error.args[0] if error.args else None
    if isinstance(inner, Exception):  # Pillow wraps errors of header parsing like this
        error = inner
    if isinstance(error, MemoryError):
        return "not enough memory"
    if isinstance(error, struct.error):
        return "damaged or truncated data"
    text = "".join(c if c.isprintable() else " " for c in str(error))[:_MAX_REASON].strip()
    if isinstance(error, (OSError, SyntaxError, ValueError, EOFError)) and text:
        return _PLAINER.get(text, text)
    return f"damaged or truncated data ({type(error).__name__}{': ' + text if text else ''})"
