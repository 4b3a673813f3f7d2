"""Pictures that lie: files of every format as --init-image, and what else people give to it."""

from __future__ import annotations

import io
import os
import random
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import pillow_jxl  # noqa: F401 (Pillow writes JPEG XL with it)
from PIL import Image

from .case import ANY, BAD, BAD_FILE, FINE, Case, Make, write
from .safetensors_cases import PICTURE

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def chunk(kind: bytes, data: bytes, crc: int | None = None) -> bytes:
    crc = zlib.crc32(kind + data) if crc is None else crc
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)


def head(width: int, height: int, depth: int = 8, colour: int = 2, interlaced: int = 0, rest: tuple[int, int] = (0, 0)) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, *rest, interlaced))


def png(*chunks: bytes) -> bytes:
    return SIGNATURE + b"".join(chunks) + chunk(b"IEND", b"")


def idat(pixels: bytes) -> bytes:
    return chunk(b"IDAT", zlib.compress(pixels))


ROWS = idat((b"\0" + bytes(range(24))) * 8)  # of 8x8 RGB


def photo(kind: str, **options: object) -> bytes:
    shades = Image.linear_gradient("L").resize((48, 40))
    picture = Image.merge("RGB", (shades, shades.rotate(90), shades.rotate(180)))
    if kind == "CMYK":
        picture, kind = picture.convert("CMYK"), "JPEG"
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def pngs() -> Iterator[tuple[str, bytes, frozenset[int]]]:
    good = png(head(8, 8), ROWS)
    yield "right", good, FINE
    yield "signature-only", SIGNATURE, BAD_FILE
    yield "no-end", good[:-12], BAD_FILE
    yield "no-pixels", png(head(8, 8)), BAD_FILE
    yield "no-head", png(ROWS), BAD_FILE
    yield "two-heads", png(head(8, 8), head(8, 8), ROWS), BAD_FILE
    yield "head-too-short", png(chunk(b"IHDR", bytes(12)), ROWS), BAD_FILE
    for kind, wrong in {"IHDR": 1, "IDAT": 2, "IEND": 3}.items():
        chunks = [head(8, 8), ROWS, chunk(b"IEND", b"")]
        chunks[wrong - 1] = chunks[wrong - 1][:-1] + bytes([chunks[wrong - 1][-1] ^ 1])
        yield f"crc-of-{kind}", SIGNATURE + b"".join(chunks), BAD_FILE
    for width, height in ((0, 8), (8, 0), (0, 0), (65535, 65535), (2**31 - 1, 1), (2**31, 8), (2**32 - 1, 2**32 - 1), (16385, 1), (1, 16385)):
        yield f"{width}x{height}", png(head(width, height), ROWS), BAD_FILE
    yield "16384x16384-of-nothing", png(head(16384, 16384), idat(b"")), BAD_FILE
    yield "11584x11584-of-nothing", png(head(11584, 11584), idat(b"")), BAD_FILE
    yield "16384x16384-bomb", png(head(16384, 16384, 16, 6), idat(bytes(50_000_000))), BAD_FILE
    yield "deflate-bomb", png(head(8, 8), idat(bytes(200_000_000))), ANY
    for depth, colour in ((0, 2), (3, 2), (4, 2), (32, 2), (8, 1), (8, 5), (8, 7), (16, 3), (255, 255)):
        yield f"depth-{depth}-colour-{colour}", png(head(8, 8, depth, colour), ROWS), BAD_FILE
    yield "compression-1", png(head(8, 8, rest=(1, 0)), ROWS), BAD_FILE
    yield "filter-1", png(head(8, 8, rest=(0, 1)), ROWS), BAD_FILE
    yield "interlace-2", png(head(8, 8, interlaced=2), ROWS), BAD_FILE
    yield "interlaced-with-few-pixels", png(head(8, 8, interlaced=1), ROWS), ANY
    yield "row-filter-9", png(head(8, 8), idat((b"\x09" + bytes(24)) * 8)), BAD_FILE
    yield "few-pixels", png(head(8, 8), idat(bytes(30))), BAD_FILE
    yield "many-pixels", png(head(8, 8), idat(bytes(3000))), ANY
    yield "no-deflate", png(head(8, 8), chunk(b"IDAT", b"this is not compressed")), BAD_FILE
    yield "deflate-cut", png(head(8, 8), chunk(b"IDAT", zlib.compress(os.urandom(200))[:-20])), BAD_FILE
    yield "empty-idat", png(head(8, 8), chunk(b"IDAT", b"")), BAD_FILE
    yield "many-empty-idats", png(head(8, 8), chunk(b"IDAT", b"") * 100_000, ROWS), ANY
    yield "palette-missing", png(head(8, 8, 8, 3), idat((b"\0" + bytes(8)) * 8)), BAD_FILE
    yield "palette-of-4-bytes", png(head(8, 8, 8, 3), chunk(b"PLTE", bytes(4)), idat((b"\0" + bytes(8)) * 8)), BAD_FILE
    yield "palette-of-257", png(head(8, 8, 8, 3), chunk(b"PLTE", bytes(771)), idat((b"\0" + bytes(8)) * 8)), BAD_FILE
    yield "palette-too-small", png(head(8, 8, 8, 3), chunk(b"PLTE", bytes(3)), idat((b"\0" + b"\xff" * 8) * 8)), ANY
    yield "transparency-too-long", png(head(8, 8, 8, 3), chunk(b"PLTE", bytes(3)), chunk(b"tRNS", bytes(300)), idat((b"\0" + bytes(8)) * 8)), BAD
    yield "transparency-of-colour", png(head(8, 8), chunk(b"tRNS", bytes(1)), ROWS), BAD
    yield "unknown-critical-chunk", png(head(8, 8), chunk(b"ABCD", b"x"), ROWS), BAD
    yield "unknown-chunk", png(head(8, 8), chunk(b"abCd", b"x"), ROWS), FINE
    yield "length-of-2^31", SIGNATURE + head(8, 8) + struct.pack(">I", 2**31) + b"IDAT", BAD_FILE
    yield "length-of-2^32-1", SIGNATURE + head(8, 8) + struct.pack(">I", 2**32 - 1) + b"IDAT", BAD_FILE
    yield "length-behind-the-end", SIGNATURE + head(8, 8) + struct.pack(">I", 1000) + b"IDAT", BAD_FILE
    yield "iphone-chunk", SIGNATURE + chunk(b"CgBI", bytes(4)) + head(8, 8) + ROWS + chunk(b"IEND", b""), BAD_FILE
    frames = png(
        head(8, 8),
        chunk(b"acTL", struct.pack(">II", 2, 0)),
        chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, 8, 8, 0, 0, 1, 10, 0, 0)),
        ROWS,
        chunk(b"fcTL", struct.pack(">IIIIIHHBB", 1, 8, 8, 0, 0, 1, 10, 0, 0)),
        chunk(b"fdAT", struct.pack(">I", 2) + zlib.compress((b"\0" + bytes(24)) * 8)),
    )
    yield "animated", frames, FINE  # its first picture, as programs that know no animation show it
    exifs = {
        "junk": os.urandom(500),
        "empty": b"",
        "tag-behind-the-end": b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x04\xff\xff\xff\xff\xff\xff\xff\xf0",
        "directory-behind-the-end": b"MM\0*\xff\xff\xff\xff",
        "65535-entries": b"II*\0\x08\0\0\0\xff\xff" + bytes(100),
        "orientation-9": b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x09\0\0\0\0\0\0",
    }
    for name, exif in exifs.items():
        yield f"exif-{name}", png(head(8, 8), chunk(b"eXIf", exif), ROWS), FINE
    yield "text-without-keyword", png(head(8, 8), chunk(b"tEXt", b"no keyword"), ROWS), FINE


def marker(code: int, data: bytes) -> bytes:
    return bytes([0xFF, code]) + struct.pack(">H", len(data) + 2) + data


def jpegs() -> Iterator[tuple[str, bytes, frozenset[int]]]:
    good = photo("JPEG", quality=90)
    frame = good.index(b"\xff\xc0")
    yield "right", good, FINE
    yield "progressive", photo("JPEG", progressive=True), FINE
    yield "cmyk", photo("CMYK"), BAD_FILE
    yield "start-only", b"\xff\xd8\xff", BAD_FILE
    yield "start-and-end", b"\xff\xd8\xff\xd9", BAD_FILE
    yield "no-end", good[:-2], BAD_FILE
    for width, height in ((0, 40), (48, 0), (65535, 65535), (16385, 16), (65535, 1)):
        yield f"{width}x{height}", good[: frame + 5] + struct.pack(">HH", height, width) + good[frame + 9 :], BAD_FILE
    yield "16384x16384", good[: frame + 5] + struct.pack(">HH", 16384, 16384) + good[frame + 9 :], BAD_FILE
    yield "11584x11584", good[: frame + 5] + struct.pack(">HH", 11584, 11584) + good[frame + 9 :], ANY
    yield "12-bits", good[: frame + 4] + b"\x0c" + good[frame + 5 :], BAD_FILE
    for components in (0, 2, 4, 5, 255):
        yield f"{components}-components", good[: frame + 9] + bytes([components]) + good[frame + 10 :], BAD_FILE
    for code in (0xC1, 0xC3, 0xC5, 0xC9, 0xCF):
        yield f"frame-{code:x}", good[: frame + 1] + bytes([code]) + good[frame + 2 :], ANY
    yield "sampling-0", good[: frame + 11] + b"\0" + good[frame + 12 :], BAD_FILE
    yield "sampling-15", good[: frame + 11] + b"\xff" + good[frame + 12 :], BAD_FILE
    yield "segment-of-0", good[:2] + b"\xff\xe0\0\0" + good[2:], BAD_FILE
    yield "segment-of-1", good[:2] + b"\xff\xe0\0\1" + good[2:], BAD_FILE
    yield "segment-behind-the-end", good[:2] + b"\xff\xe0\xff\xff" + good[2:1000], BAD_FILE
    yield "20000-segments", good[:2] + marker(0xFE, b"x") * 20_000 + good[2:], BAD_FILE
    yield "no-tables", b"".join([good[:2], good[frame:]]), ANY
    yield "huffman-junk", good.replace(b"\xff\xc4", b"\xff\xc4\x00\x13\x00" + b"\xff" * 16 + b"\xff\xc4", 1), BAD_FILE
    yield "two-frames", good[:frame] + good[frame : frame + 19] + good[frame:], ANY
    yield "filling", good[:2] + b"\xff" * 100_000 + good[2:], ANY
    for name, exif in {
        "junk": os.urandom(2000),
        "cut": b"Exif\0\0MM",
        "orientation-0": b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\0\0\0\0\0\0\0",
        "comment-behind-the-end": b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x87\x69\0\x04\0\0\0\x01\x7f\xff\xff\xff",
        "loop": b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x87\x69\0\x04\0\0\0\x01\0\0\0\x08\0\0\0\x08",
    }.items():
        yield f"exif-{name}", good[:2] + marker(0xE1, exif) + good[2:], FINE


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    data = b"WEBP" + b"".join(kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2) for kind, data in chunks)
    return b"RIFF" + struct.pack("<I", len(data)) + data


def webps() -> Iterator[tuple[str, bytes, frozenset[int]]]:
    good, plain = photo("WEBP", lossless=True), photo("WEBP", quality=90)
    pixels = (b"VP8L", good[20 : 20 + struct.unpack("<I", good[16:20])[0]])
    yield "right", good, FINE
    yield "lossy", plain, FINE
    yield "animated", photo("WEBP", save_all=True, append_images=[Image.new("RGB", (48, 40))]), BAD_FILE
    yield "head-only", good[:12], BAD_FILE
    yield "no-pixels", riff((b"VP8X", struct.pack("<I", 0) + bytes(6))), BAD_FILE
    yield "length-of-2^32-1", good[:4] + b"\xff" * 4 + good[8:], ANY
    yield "chunk-of-2^32-1", good[:16] + b"\xff" * 4 + good[20:], BAD_FILE
    for side in (16383, 16384, 2**24 - 1):
        canvas = struct.pack("<I", 0x10) + struct.pack("<I", side)[:3] * 2
        yield f"canvas-{side}", riff((b"VP8X", canvas), pixels), BAD_FILE
    yield "lossless-16384x16384", good[:21] + b"\xff" * 4 + good[25:], BAD_FILE
    for name, exif in {"junk": os.urandom(500), "empty": b"", "cut": b"Exif\0\0MM"}.items():
        yield f"exif-{name}", riff((b"VP8X", b"\x08\0\0\0" + struct.pack("<I", 47)[:3] + struct.pack("<I", 39)[:3]), pixels, (b"EXIF", exif)), ANY


def avifs() -> Iterator[tuple[str, bytes, frozenset[int]]]:
    good = photo("AVIF", quality=90)
    size = good.index(b"ispe") + 8
    yield "right", good, FINE
    yield "animated", photo("AVIF", save_all=True, append_images=[Image.new("RGB", (48, 40))]), BAD_FILE
    yield "brand-only", good[: struct.unpack(">I", good[:4])[0]], BAD_FILE
    for width, height in ((0, 40), (16385, 16), (16384, 16384), (2**31 - 1, 2**31 - 1)):
        yield f"{width}x{height}", good[:size] + struct.pack(">II", width, height) + good[size + 8 :], BAD_FILE
    for width, height in ((11584, 11584), (49, 40)):  # libavif stretches the pixels to the size that is said
        yield f"{width}x{height}", good[:size] + struct.pack(">II", width, height) + good[size + 8 :], ANY
    for box in (b"meta", b"iloc", b"iinf", b"iprp", b"ipma", b"av1C", b"pitm", b"mdat"):
        at = good.index(box)
        # Of the last one neither its kind nor its length matters.
        yield f"no-{box.decode()}", good.replace(box, b"free", 1), ANY if box == b"mdat" else BAD_FILE
        yield f"{box.decode()}-of-2^32-1", good[: at - 4] + b"\xff" * 4 + good[at:], ANY if box == b"mdat" else BAD_FILE
        yield f"{box.decode()}-of-0", good[: at - 4] + bytes(4) + good[at:], ANY


def jxls() -> Iterator[tuple[str, bytes, frozenset[int]]]:
    good = photo("JXL", lossless=True)
    box = b"\0\0\0\x0cJXL \r\n\x87\n" + b"\0\0\0\x14ftypjxl \0\0\0\0jxl "
    stream = good if good.startswith(b"\xff\x0a") else good[good.index(b"jxlc") + 4 :]

    def boxed(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data) + 8) + kind + data

    yield "right", good, FINE
    yield "codestream", stream, FINE
    yield "in-a-box", box + boxed(b"jxlc", stream), FINE
    yield "signature-only", b"\xff\x0a", BAD_FILE
    yield "boxes-only", box, BAD_FILE
    yield "box-of-2^32-1", box + b"\xff" * 4 + b"jxlc" + stream, ANY  # the last one
    yield "junk", b"\xff\x0a" + os.urandom(300), ANY
    yield "ones", b"\xff\x0a" + b"\xff" * 300, BAD_FILE
    yield "bad-brotli", box + boxed(b"brob", b"xml " + os.urandom(300)) + boxed(b"jxlc", stream), ANY
    yield "exif-junk", box + boxed(b"Exif", os.urandom(300)) + boxed(b"jxlc", stream), FINE
    yield "exif-of-3-bytes", box + boxed(b"Exif", b"abc") + boxed(b"jxlc", stream), FINE


def others() -> Iterator[tuple[str, bytes]]:
    yield "empty", b""
    yield "text", b"a picture, honestly\n"
    yield "zeros", bytes(10_000)
    for kind in ("GIF", "BMP", "TIFF", "TGA", "PPM"):
        yield kind.lower(), photo(kind)
    yield "psd", b"8BPS\0\1" + bytes(100)
    yield "hdr", b"#?RADIANCE\n" + bytes(100)
    yield "svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>"
    yield "gif-double-free", b"GIF89a\x01\0\x01\0\xf0\0\0" + b"\xff" * 6 + b"\x2c\0\0\0\0\xff\xff\xff\xff\0\x02\x02\x44\x01\0\x3b"


def no_files() -> Iterator[tuple[str, Make]]:
    yield "pipe", lambda folder: os.mkfifo(folder / "x.png")
    yield "missing", lambda folder: None
    yield "link-to-itself", lambda folder: (folder / "x.png").symlink_to(folder / "x.png")
    yield "device", lambda folder: (folder / "x.png").symlink_to("/dev/zero")


def cases(model: Path) -> Iterator[Case]:
    words = ["-m", str(model), *PICTURE, "-W", "32", "-H", "32", "--strength", "1", "-i", "IN/x.png"]
    for label, files in {"png": pngs(), "jpeg": jpegs(), "webp": webps(), "avif": avifs(), "jxl": jxls()}.items():
        for name, data, codes in files:
            yield Case(f"picture/{label}/{name}", write("x.png", data), words, codes, ["x.png"])
            if label == "png" and name.startswith(("16384", "11584", "65535", "deflate")):
                continue
            inspected = Case(f"picture/inspect-{label}/{name}", write("x.png", data), ["inspect", "IN/x.png"], ANY, ["x.png"])
            yield inspected
    for name, data in others():
        yield Case(f"picture/other/{name}", write("x.png", data), words, BAD_FILE, ["x.png"])
    for name, make in no_files():
        yield Case(f"picture/other/{name}", make, words, BAD, ["x.png"])
    whole = {
        "png": photo("PNG"),
        "jpeg": photo("JPEG"),
        "progressive": photo("JPEG", progressive=True),
        "webp": photo("WEBP", lossless=True),
        "avif": photo("AVIF"),
        "jxl": photo("JXL", lossless=True),
    }
    for label, data in whole.items():
        for percent in range(100):
            yield Case(f"picture/cut-{label}/{percent}%", write("x.png", data[: len(data) * percent // 100]), words, BAD_FILE, ["x.png"])
        chance = random.Random(label)
        for number in range(100):
            damaged = bytearray(data)
            for _ in range(1 + number % 5):
                damaged[chance.randrange(len(damaged))] = chance.randrange(256)
            yield Case(f"picture/damaged-{label}/{number}", write("x.png", bytes(damaged)), words, ANY, ["x.png"])
    yield from other_flags(model)


def other_flags(model: Path) -> Iterator[Case]:
    """The same reader, by other options."""
    right, bad = photo("PNG"), photo("PNG")[:100]

    def make(folder: Path) -> None:
        (folder / "right.png").write_bytes(right)
        (folder / "x.png").write_bytes(bad)

    base = ["-m", str(model), *PICTURE, "-W", "32", "-H", "32"]
    yield Case("picture/flags/mask", make, [*base, "-i", "IN/right.png", "--mask", "IN/x.png"], BAD_FILE, ["x.png"])
    yield Case("picture/flags/depth", make, [*base, "-i", "IN/right.png", "--depth", "IN/x.png"], BAD, [("x.png", "--depth")])
    yield Case("picture/flags/canny", make, ["canny", "-i", "IN/x.png", "-o", "e.png"], BAD_FILE, ["x.png"])
    yield Case("picture/flags/roundtrip", make, ["vae-roundtrip", "-m", str(model), "-i", "IN/x.png", "-o", "e.png"], BAD_FILE, ["x.png"])
