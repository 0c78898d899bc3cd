"""The few EXIF tags that name a camera, as clean text, from metadata that nobody vouches for."""

from __future__ import annotations

from typing import Any, Final

import PIL.Image
from PIL import ExifTags

MAX_TEXT: Final = 128  # characters kept of one tag

_IFD0: Final = {
    "make": (ExifTags.Base.Make,),
    "model": (ExifTags.Base.Model,),
    "software": (ExifTags.Base.Software,),
    "serial": (ExifTags.Base.CameraSerialNumber,),
    "datetime": (ExifTags.Base.DateTime,),
}
_EXIF_IFD: Final = {
    "serial": (ExifTags.Base.BodySerialNumber,),
    "datetime": (ExifTags.Base.DateTimeOriginal, ExifTags.Base.DateTimeDigitized),
}


def clean_text(value: Any) -> str:
    """Printable text of at most ``MAX_TEXT`` characters; "" for what is no text or whole number.

    Ends at the first NUL, as the EXIF standard (CIPA DC-008) has it. UTF-8 is understood, anything
    else is read as Latin-1; what cannot be printed becomes a blank, runs of blanks become one.
    """
    if isinstance(value, int):
        return str(value) if abs(value) < 2**64 else ""
    if isinstance(value, str):
        value = value[: 8 * MAX_TEXT].encode("latin-1", "replace")
    if not isinstance(value, bytes):
        return ""
    raw = value[: 8 * MAX_TEXT].lstrip(b"\0").split(b"\0", 1)[0]
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    printable = "".join(c if c.isprintable() else " " for c in text)
    return " ".join(printable.split())[:MAX_TEXT].rstrip()


def read_exif(image: PIL.Image.Image) -> tuple[dict[str, str], int]:
    """The tags of an opened image, and its orientation (1..8; 1 where absent or nonsense).

    Keys, each present only where there is text: make, model, software, serial, datetime (of
    exposure; else of the last change). Damaged metadata gives what was read before the damage.
    """
    tags: dict[str, str] = {}
    orientation: Any = 1
    try:
        # Pillow's PNG class would decode the pixels here; the method of the base class does not.
        exif = PIL.Image.Image.getexif(image)
        orientation = exif.get(ExifTags.Base.Orientation, 1)
        for source, wanted in ((exif, _IFD0), (exif.get_ifd(ExifTags.IFD.Exif), _EXIF_IFD)):
            for key, numbers in wanted.items():
                texts = (clean_text(source.get(number)) for number in numbers)
                if text := next(filter(None, texts), ""):
                    tags[key] = text
    except Exception:
        # Pillow's parser raises half a dozen types on hostile metadata; none says anything about
        # the pixels, which are the evidence.
        pass
    valid = isinstance(orientation, int) and 1 <= orientation <= 8
    return tags, int(orientation) if valid else 1
