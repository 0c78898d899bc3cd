"""Every format with pixels known in advance; damaged, hostile and oversized files."""

from __future__ import annotations

import io
import json
import struct
import subprocess
import sys
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import PngImagePlugin

from forensics.decode import decode, probe
from forensics.records import Unreadable
from tests.patience import PATIENCE_SECONDS

RNG = np.random.default_rng(7)
RGB = RNG.integers(0, 256, (13, 17, 3), dtype=np.uint8)
GREY = RGB[..., 0]
RGB16 = RNG.integers(0, 65536, (13, 17, 3), dtype=np.uint16)
RAMP16 = np.arange(65536, dtype=np.uint16).reshape(256, 256)


def saved(pixels: NDArray[Any] | PIL.Image.Image, kind: str, **options: Any) -> bytes:
    image = pixels if isinstance(pixels, PIL.Image.Image) else PIL.Image.fromarray(pixels)
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def smooth(height: int = 64, width: int = 96) -> NDArray[np.uint8]:
    y, x = np.mgrid[:height, :width]
    return np.stack([2 * x, 3 * y, x + y], axis=-1).clip(0, 255).astype(np.uint8)


def scaled(values: NDArray[Any], top: int = 65535) -> NDArray[np.uint8]:
    """The stated rule, in exact integers: round(v * 255 / top)."""
    return ((2 * 255 * values.astype(np.uint64) + top) // (2 * top)).astype(np.uint8)


def tiff(pixels: NDArray[Any], **options: Any) -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(stream, pixels, **options)
    return stream.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(
    width: int, height: int, depth: int, colour: int, rows: bytes, *extra: bytes, interlace: int = 0
) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    body = chunk(b"IHDR", header) + b"".join(extra) + chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b"")


def png_rows(samples: NDArray[np.uint16], sub_filter: bool = False) -> bytes:
    """16-bit samples (H, W, C) as PNG scan lines, optionally with the Sub filter."""
    raw = samples.astype(">u2").view(np.uint8).reshape(len(samples), -1)
    step = 2 * samples.shape[2]
    if not sub_filter:
        return b"".join(b"\0" + row.tobytes() for row in raw)
    shifted = np.pad(raw, ((0, 0), (step, 0)))[:, :-step]
    return b"".join(b"\1" + row.tobytes() for row in raw - shifted)


# --- lossless formats: exact pixels -------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_lossless_rgb_and_grey_are_exact(kind: str) -> None:
    image = decode(saved(RGB, kind))
    np.testing.assert_array_equal(image.pixels, RGB)
    assert (image.format, image.bit_depth, image.jpeg_quality) == (kind, 8, None)
    assert (image.height, image.width) == (13, 17)
    assert image.pixels.flags.writeable
    assert image.pixels.flags.c_contiguous
    grey = decode(saved(GREY, kind))
    np.testing.assert_array_equal(grey.pixels, np.repeat(GREY[..., None], 3, axis=2))


def test_lossless_webp_is_exact() -> None:
    np.testing.assert_array_equal(decode(saved(RGB, "WEBP", lossless=True)).pixels, RGB)


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_tiff_compressions(compression: str | None) -> None:
    options = {} if compression is None else {"compression": compression}
    np.testing.assert_array_equal(decode(saved(RGB, "TIFF", **options)).pixels, RGB)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_alpha_is_dropped_and_colours_stay_as_stored(kind: str) -> None:
    rgba = np.dstack([RGB, RNG.integers(0, 256, RGB.shape[:2], dtype=np.uint8)])
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    np.testing.assert_array_equal(decode(saved(rgba, kind, **options)).pixels, RGB)


def test_grey_with_alpha() -> None:
    data = saved(PIL.Image.fromarray(np.dstack([GREY, 255 - GREY]), "LA"), "PNG")
    np.testing.assert_array_equal(decode(data).pixels[..., 1], GREY)


@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP", "TIFF"])
def test_palette_is_looked_up_transparent_or_not(kind: str) -> None:
    image = PIL.Image.fromarray(GREY % 4, "P")
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110, 120])
    colours = np.array([[10, 20, 30], [40, 50, 60], [70, 80, 90], [100, 110, 120]], np.uint8)
    expected = colours[GREY % 4]
    np.testing.assert_array_equal(decode(saved(image, kind)).pixels, expected)
    if kind in ("PNG", "GIF"):
        np.testing.assert_array_equal(decode(saved(image, kind, transparency=2)).pixels, expected)
    if kind == "PNG":
        data = saved(image, kind, transparency=b"\x00\x7f\xff\x10")
        np.testing.assert_array_equal(decode(data).pixels, expected)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP"])
def test_bilevel_becomes_black_and_white(kind: str) -> None:
    image = decode(saved(PIL.Image.fromarray(GREY > 127), kind))
    np.testing.assert_array_equal(image.pixels[..., 2], np.where(GREY > 127, 255, 0))
    assert image.bit_depth == 1


def test_first_frame_counts() -> None:
    first, second = PIL.Image.new("L", (9, 7), 200), PIL.Image.new("L", (9, 7), 20)
    for kind in ("GIF", "TIFF", "PNG"):
        data = saved(first, kind, save_all=True, append_images=[second])
        assert (decode(data).pixels == 200).all(), kind
    data = saved(first.convert("RGB"), "MPO", save_all=True, append_images=[second.convert("RGB")])
    image = decode(data)
    assert image.format == "MPO"
    assert image.jpeg_quality == 75
    assert np.abs(image.pixels.astype(int) - 200).max() <= 2


# --- deep samples -------------------------------------------------------------------------------


def check_deep(data: bytes, expected: NDArray[np.uint8], depth: int) -> None:
    image = decode(data)
    np.testing.assert_array_equal(image.pixels, expected)
    assert image.bit_depth == depth


def test_16_bit_grey_ramp_is_monotone_over_all_levels() -> None:
    for data in (saved(RAMP16, "PNG"), saved(RAMP16, "TIFF"), tiff(RAMP16, byteorder=">")):
        image = decode(data)
        ramp = image.pixels[..., 0].ravel().astype(int)
        assert (np.diff(ramp) >= 0).all()
        assert np.bincount(ramp).tolist() == [129] + [257] * 254 + [129]
        np.testing.assert_array_equal(image.pixels[..., 0], scaled(RAMP16))
        assert image.bit_depth == 16


@pytest.mark.parametrize("sub_filter", [False, True])
def test_16_bit_colour_png(sub_filter: bool) -> None:
    check_deep(png(17, 13, 16, 2, png_rows(RGB16, sub_filter)), scaled(RGB16), 16)
    rgba = np.dstack([RGB16, RGB16[::-1, :, 0]])
    check_deep(png(17, 13, 16, 6, png_rows(rgba, sub_filter)), scaled(RGB16), 16)
    grey = np.repeat(scaled(RGB16[..., :1]), 3, axis=2)
    check_deep(png(17, 13, 16, 4, png_rows(RGB16[..., :2], sub_filter)), grey, 16)
    check_deep(png(17, 13, 16, 0, png_rows(RGB16[..., :1], sub_filter)), grey, 16)


def test_16_bit_interlaced_png() -> None:
    passes = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4))
    passes += ((2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
    rows = b"".join(png_rows(RGB16[y::dy, x::dx]) for y, x, dy, dx in passes)
    check_deep(png(17, 13, 16, 2, rows, interlace=1), scaled(RGB16), 16)


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("tile", [None, (16, 16)])
def test_16_bit_colour_tiff(byteorder: str, planar: str, compression: Any, tile: Any) -> None:
    pixels = RGB16 if planar == "contig" else np.moveaxis(RGB16, -1, 0)
    data = tiff(
        pixels,
        photometric="rgb",
        byteorder=byteorder,
        planarconfig=planar,
        compression=compression,
        tile=tile,
    )
    check_deep(data, scaled(RGB16), 16)


def test_16_bit_tiff_with_alpha_keeps_stored_colours() -> None:
    rgba = np.dstack([RGB16, RGB16[::-1, :, 0]])
    for kind in ("unassalpha", "assocalpha"):
        data = tiff(rgba, photometric="rgb", extrasamples=[kind])
        check_deep(data, scaled(RGB16), 16)


def test_12_bit_grey_tiff() -> None:
    values = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    pairs = values.reshape(-1, 2)
    packed = np.stack(
        [pairs[:, 0] >> 4, (pairs[:, 0] & 15) << 4 | pairs[:, 1] >> 8, pairs[:, 1] & 255], axis=1
    ).astype(np.uint8)
    tags = [(256, 64), (257, 64), (258, 12), (259, 1), (262, 1), (273, 200), (277, 1), (278, 64)]
    tags.append((279, packed.size))
    ifd = struct.pack("<H", len(tags))
    ifd += b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags) + bytes(4)
    data = (b"II*\0" + struct.pack("<I", 8) + ifd).ljust(200, b"\0") + packed.tobytes()
    check_deep(data, np.repeat(scaled(values, 4095)[..., None], 3, axis=2), 12)


def test_min_is_white_is_inverted() -> None:
    data = tiff(RAMP16, photometric="miniswhite")
    np.testing.assert_array_equal(decode(data).pixels[..., 0], 255 - scaled(RAMP16))


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.uint32])
def test_other_integers_use_the_full_range_of_their_type(dtype: type) -> None:
    info = np.iinfo(dtype)
    values = np.array([[info.min, info.max, (info.min + info.max) // 2]], dtype)
    assert decode(tiff(values)).pixels[0, :, 0].tolist() == [0, 255, 127]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_float_tiff(dtype: type) -> None:
    unit = np.linspace(0.1, 0.9, 12, dtype=dtype).reshape(2, 2, 3)
    expected = np.rint(unit.astype(np.float64) * 255).astype(np.uint8)
    np.testing.assert_array_equal(decode(tiff(unit, photometric="rgb")).pixels, expected)
    wide = np.array([[-100.0, -50.0, 100.0]], dtype)
    assert decode(tiff(wide)).pixels[0, :, 0].tolist() == [0, 64, 255]
    assert (decode(tiff(np.full((4, 4), 7.0, dtype))).pixels == 0).all()
    with pytest.raises(Unreadable, match="not finite"):
        decode(tiff(np.array([[0.0, np.nan]], dtype)))


# --- JPEG ---------------------------------------------------------------------------------------


def test_jpeg_equals_pillow_and_progressive_equals_baseline() -> None:
    baseline = decode(saved(smooth(), "JPEG", quality=85))
    progressive = decode(saved(smooth(), "JPEG", quality=85, progressive=True))
    np.testing.assert_array_equal(baseline.pixels, progressive.pixels)
    with PIL.Image.open(io.BytesIO(saved(smooth(), "JPEG", quality=85))) as reference:
        np.testing.assert_array_equal(baseline.pixels, np.asarray(reference))
    assert (baseline.format, baseline.jpeg_quality) == ("JPEG", 85)


@pytest.mark.parametrize("quality", [1, 17, 50, 75, 92, 100])
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_jpeg_quality(quality: int, mode: str) -> None:
    data = saved(PIL.Image.fromarray(smooth()).convert(mode), "JPEG", quality=quality)
    assert decode(data).jpeg_quality == quality
    assert probe(data).jpeg_quality == quality


def test_cmyk_jpeg_has_the_right_colours() -> None:
    data = saved(PIL.Image.fromarray(smooth()).convert("CMYK"), "JPEG", quality=100)
    assert np.abs(decode(data).pixels.astype(int) - smooth()).max() <= 6


def test_size_is_that_of_the_file_at_strip_borders() -> None:
    for height, width in ((1, 1), (1, 300_000), (2049, 130), (3, 262_144)):
        pixels = np.resize(np.arange(251, dtype=np.uint8), (height, width, 3))
        np.testing.assert_array_equal(decode(saved(pixels, "PNG", compress_level=1)).pixels, pixels)


# --- metadata -----------------------------------------------------------------------------------


def exif(**texts: Any) -> PIL.Image.Exif:
    tags = {"make": 271, "model": 272, "software": 305, "datetime": 306, "orientation": 274}
    result = PIL.Image.Exif()
    for key, value in texts.items():
        if key == "serial":
            result.get_ifd(0x8769)[0xA431] = value
        elif key == "taken":
            result.get_ifd(0x8769)[0x9003] = value
        else:
            result[tags[key]] = value
    return result


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP", "AVIF"])
@pytest.mark.parametrize("orientation", [3, 6])
def test_exif_is_recorded_and_orientation_not_applied(kind: str, orientation: int) -> None:
    tags = exif(
        make="Nikon",
        model="D70 ",
        software="v1.00",
        datetime="2020:01:01 00:00:00",
        taken="2019:02:03 04:05:06",
        serial="300",
        orientation=orientation,
    )
    data = saved(smooth(), kind, exif=tags.tobytes())
    image = decode(data)
    assert image.orientation == orientation
    expected = {"make": "Nikon", "model": "D70", "software": "v1.00", "serial": "300"}
    assert image.exif == expected | {"datetime": "2019:02:03 04:05:06"}
    assert image.pixels.shape == (64, 96, 3)
    assert np.abs(image.pixels.astype(int) - smooth()).mean() < 4
    header = probe(data)
    assert (header.format, header.width, header.height) == (kind, 96, 64)
    assert (header.exif, header.orientation) == (image.exif, orientation)
    assert header.jpeg_quality == (75 if kind == "JPEG" else None)


def test_hostile_exif_is_cleaned_and_bounded() -> None:
    text = "Ca\x1b[31mnon\r\n<b>\u202eX" + "y" * 5000
    data = saved(smooth(), "JPEG", exif=exif(make="A\0B", model=text.encode(), orientation=77))
    image = decode(data)
    assert image.exif["make"] == "A"
    assert image.exif["model"].startswith("Ca [31mnon <b> Xyyy")
    assert len(image.exif["model"]) <= 128
    assert all(c.isprintable() for c in image.exif["model"])
    assert image.orientation == 1


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"garbage",
        b"\0" * 3000,
        b"II*\0\x08\0\0\0\xff\xff" + b"\xff" * 60000,
        b"II*\0\x08\0\0\0\x02\0\x0f\x01\x02\0\xff\xff\xff\x7f\x08\0\0\0\x12\x01\x05\0\0\0\0\0",
        b"MM\0*\0\0\0\x08\0\x01\x87\x69\0\x04\0\0\0\x01\0\0\0\x08\0\0\0\x08",  # points to itself
    ],
)
def test_broken_exif_never_costs_the_pixels(raw: bytes) -> None:
    exact = {"PNG": {}, "WEBP": {"lossless": True}}
    for kind, options in exact.items():
        image = decode(saved(smooth(), kind, exif=b"Exif\0\0" + raw, **options))
        np.testing.assert_array_equal(image.pixels, smooth())
    assert decode(saved(smooth(), "JPEG", exif=b"Exif\0\0" + raw)).pixels.shape == (64, 96, 3)
    data = bytearray(saved(smooth(), "AVIF", exif=exif(make="Nikon" * 20)))
    start = data.index(b"II*\0") if b"II*\0" in data else data.index(b"MM\0*")
    damaged = raw[:60].ljust(60, b"\xfe")
    data[start : start + 60] = damaged
    assert decode(bytes(data)).pixels.shape == (64, 96, 3)


def test_probe_needs_only_the_beginning() -> None:
    noise = RNG.integers(0, 256, (300, 400, 3), dtype=np.uint8)
    for kind in ("JPEG", "PNG", "BMP", "GIF"):
        data = saved(noise, kind)
        assert len(data) > 65536
        header = probe(data[:65536])
        assert (header.format, header.width, header.height) == (kind, 400, 300)
        with pytest.raises(Unreadable):
            probe(data[:10])


# --- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"\0" * 1000, "not an image"),
        (b"hello world, this is no image", "not an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "PostScript is not supported"),
        (b"8BPS" + bytes(100), "Photoshop is not supported"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIF is not supported"),
        (b"\xff\xd8\xff", "JPEG cannot be opened"),
        (b"\x89PNG\r\n\x1a\n", "PNG cannot be opened"),
        (b"II*\0\xff\xff\xff\xff", "TIFF cannot be opened"),
    ],
)
def test_what_is_no_image_is_unreadable_with_a_reason(data: bytes, reason: str) -> None:
    with pytest.raises(Unreadable, match=reason):
        decode(data)
    with pytest.raises(Unreadable, match=reason):
        probe(data)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP", "GIF", "BMP", "AVIF"])
def test_truncated_files_are_unreadable(kind: str) -> None:
    noise = RNG.integers(0, 256, (40, 50, 3), dtype=np.uint8)
    data = saved(noise, kind)
    for part in (0.02, 0.2, 0.5, 0.9):
        with pytest.raises(Unreadable):
            decode(data[: int(len(data) * part)])


def test_progressive_jpeg_is_strict_too() -> None:
    data = saved(smooth(256, 256), "JPEG", progressive=True)
    for part in (0.3, 0.6, 0.9):
        with pytest.raises(Unreadable, match="truncated"):
            decode(data[: int(len(data) * part)])


def test_png_with_a_flipped_pixel_byte_is_unreadable() -> None:
    data = bytearray(saved(RGB, "PNG", compress_level=0))  # stored: zlib itself sees no damage
    data[data.index(b"IDAT") + 40] ^= 1
    with pytest.raises(Unreadable, match="wrong checksum in IDAT"):
        decode(bytes(data))


def test_raw_photo_is_not_taken_for_its_preview() -> None:
    preview = tiff(RGB, photometric="rgb", subfiletype=1)
    dng = tiff(RGB, photometric="rgb", extratags=[(50706, 1, 4, bytes([1, 4, 0, 0]), True)])
    for data in (preview, dng):
        with pytest.raises(Unreadable, match="raw photo"):
            decode(data)


def test_unknown_tiff_compression_is_named() -> None:
    data = bytearray(tiff(GREY))
    entry = data.index(struct.pack("<HHI", 259, 3, 1))
    data[entry + 8 : entry + 10] = struct.pack("<H", 34712)
    with pytest.raises(Unreadable, match="compression 34712 is not supported"):
        decode(bytes(data))


def test_limit_is_a_setting_and_exact() -> None:
    data = saved(np.zeros((100, 200), np.uint8), "PNG")
    assert decode(data, max_megapixels=0.02).pixels.shape == (100, 200, 3)
    reason = r"0\.0 MP exceeds the limit of 0\.0199 MP \(setting max_megapixels\)"
    with pytest.raises(Unreadable, match=reason):
        decode(data, max_megapixels=0.0199)


def test_tiff_with_a_lying_tile_size_is_refused() -> None:
    data = bytearray(tiff(GREY, tile=(16, 16)))
    for tag in (322, 323):
        entry = next(
            at for kind in (3, 4) if (at := data.find(struct.pack("<HHI", tag, kind, 1))) >= 0
        )
        data[entry + 2 : entry + 12] = struct.pack("<HII", 4, 1, 1 << 20)
    with pytest.raises(Unreadable, match="tile of 1048576 x 1048576 pixels"):
        decode(bytes(data))


def _compressed_zeros(count: int) -> bytes:
    packer = zlib.compressobj(9)
    parts = [packer.compress(bytes(1 << 20)) for _ in range(count >> 20)]
    return b"".join([*parts, packer.flush()])


@pytest.fixture(scope="module")
def bombs() -> dict[str, bytes]:
    """Small files that would become gigabytes."""
    head, idat = b"\x89PNG\r\n\x1a\n", _compressed_zeros(400 << 20)

    def bomb(*chunks: bytes) -> bytes:
        return head + b"".join(chunks) + chunk(b"IEND", b"")

    small = chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(bytes(9 * 8)))
    large = chunk(b"IHDR", struct.pack(">IIBBBBB", 20_000, 20_000, 8, 0, 0, 0, 0))
    gif = b"GIF89a\x01\0\x01\0\x80\0\0" + bytes(6) + b"!\xf9\x04\x08\0\0\0\0"
    return {
        "png": bomb(large, chunk(b"IDAT", idat)),
        "iccp": bomb(small, chunk(b"iCCP", b"x\0\0" + idat), pixels),
        "ztxt": bomb(small, chunk(b"zTXt", b"x\0\0" + idat), pixels),
        "ztxt after": bomb(small, pixels, chunk(b"zTXt", b"x\0\0" + idat)),
        "gif frame": gif + b",\0\0\0\0\xff\xff\xff\xff\0\x02\x02\x4c\x01\0;",
        "webp": b"RIFF\x30\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\xfe\x3f\0\xfe\x3f\0" + bytes(20),
        "bmp": b"BM" + struct.pack("<IIIIiiHHIIiiII", 54, 0, 54, 40, 60000, 60000, 1, 24, *[0] * 6),
    }


def test_bombs_cost_no_memory(bombs: dict[str, bytes], tmp_path: Path) -> None:
    for name, data in bombs.items():
        (tmp_path / name).write_bytes(data)
    script = """
import json, resource, sys
from pathlib import Path
from forensics.decode import decode, probe
from forensics.records import Unreadable
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
reasons, files = {}, {p.name: p.read_bytes() for p in Path(sys.argv[1]).iterdir()}
before = peak()
for name, data in files.items():
    for function in (probe, decode):
        try:
            function(data); reasons[name] = "decoded"
        except Unreadable as error:
            reasons[name] = str(error)
print(json.dumps({"growth": peak() - before, "reasons": reasons}))
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (
        "400.0 MP exceeds the limit of 200 MP (setting max_megapixels)" in result["reasons"]["png"]
    )
    assert "exceeds the limit" in result["reasons"]["gif frame"]
    assert "exceeds the limit" in result["reasons"]["bmp"]
    for name in ("iccp", "ztxt", "ztxt after"):
        assert "too large" in result["reasons"][name]
    assert "decoded" not in result["reasons"].values()
    assert result["growth"] < 30  # MiB; the files unpack to 0.4 to 10 GB each
    assert done.stderr == ""


# --- hostile bytes ------------------------------------------------------------------------------

VALID = {
    "JPEG": saved(smooth(24, 24), "JPEG", exif=exif(make="Nikon", orientation=6)),
    "progressive": saved(smooth(24, 24), "JPEG", progressive=True),
    "PNG": saved(RGB, "PNG", exif=exif(make="Nikon")),
    "PNG16": png(17, 13, 16, 2, png_rows(RGB16)),
    "TIFF": saved(RGB, "TIFF", compression="tiff_lzw"),
    "TIFF16": tiff(RGB16, photometric="rgb"),
    "float": tiff(RGB16.astype(np.float32), photometric="rgb", compression="zlib"),
    "GIF": saved(GREY, "GIF"),
    "BMP": saved(RGB, "BMP"),
    "WEBP": saved(RGB, "WEBP"),
    "AVIF": saved(smooth(24, 24), "AVIF"),
}


@pytest.mark.parametrize("name", VALID)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_flipped_bytes_give_an_image_or_a_reason(name: str, data: st.DataObject) -> None:
    damaged = bytearray(VALID[name])
    places = st.integers(0, len(damaged) - 1)
    for place in data.draw(st.lists(places, min_size=1, max_size=8)):
        damaged[place] = data.draw(st.integers(0, 255))
    cut = data.draw(st.one_of(st.just(len(damaged)), places))
    for function in (decode, probe):
        try:
            result = function(bytes(damaged[:cut]), **_small(function))
            outcome = f"{result.width} x {result.height}"
        except Unreadable as reason:
            outcome = str(reason)
        assert 5 <= len(outcome) < 400
        assert outcome.isprintable()
        assert not outcome.startswith("0 ")


def _small(function: Any) -> dict[str, float]:
    return {"max_megapixels": 4.0} if function is decode else {}


@given(st.binary(max_size=200))
def test_any_bytes_give_a_reason(data: bytes) -> None:
    with pytest.raises(Unreadable):
        decode(data)


def test_threads_share_nothing() -> None:
    files = [*VALID.values(), VALID["JPEG"][:300], b"", b"\xff\xd8\xff"] * 8

    def outcome(data: bytes) -> Any:
        try:
            return decode(data).pixels.tobytes()
        except Unreadable as error:
            return str(error)

    alone = [outcome(data) for data in files]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(outcome, files)) == alone


def test_filters_of_the_caller_keep_working() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        decode(VALID["TIFF"])
        with pytest.raises(UserWarning):
            warnings.warn("still an error", UserWarning, stacklevel=1)


ODD = """
import json, sys, time, warnings
from pathlib import Path
from forensics.decode import decode, probe
from forensics.records import Unreadable
for path in sorted(p for p in Path(sys.argv[1]).rglob("*") if p.is_file()):
    data = path.read_bytes()
    print(path, end="\\t", flush=True)
    start = time.perf_counter()
    try:
        image = decode(data)
        status, text = "ok", f"{image.format} {image.pixels.shape}"
        header = probe(data)
        assert (header.height, header.width) == image.pixels.shape[:2], header
    except Unreadable as error:
        status, text = "unreadable", str(error)
    print(json.dumps([status, text, time.perf_counter() - start]), flush=True)
"""


def test_real_odd_files_give_an_image_or_a_reason(shared: Path) -> None:
    """In a process of its own: a decoder that crashes or hangs must not take the suite along."""
    folder = shared / "data" / "odd_inputs"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", ODD, str(folder)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    lines = done.stdout.splitlines()
    assert done.returncode == 0, f"after {lines[-1]}: {done.stderr}"
    assert done.stderr == ""
    results = {path: json.loads(result) for path, result in (line.split("\t") for line in lines)}
    assert len(results) == sum(path.is_file() for path in folder.rglob("*"))
    assert {status for status, _, _ in results.values()} == {"ok", "unreadable"}
    assert max(seconds for _, _, seconds in results.values()) < 20  # a hang, not a slow machine
    readable = sum(status == "ok" for status, _, _ in results.values())
    assert readable > 200
    for path, (status, text, _) in results.items():
        if "/wuffs/" in path and path.endswith("hippopotamus.regular.png"):
            assert status == "ok", text
        if path.endswith("truncated.png"):
            assert status == "unreadable"


def test_text_chunks_do_not_hide_the_exif_behind_the_pixels() -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "x" * 1000, zip=True)
    tags = exif(make="Nikon").tobytes()[6:]
    data = saved(RGB, "PNG", pnginfo=info)
    end = data.index(b"IEND") - 4
    image = decode(data[:end] + chunk(b"eXIf", tags) + data[end:])
    assert image.exif == {"make": "Nikon"}
