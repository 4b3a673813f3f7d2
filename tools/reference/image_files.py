"""Pictures to begin with: files of every kind, made when they are asked for, and what they are read as."""

from __future__ import annotations

import atexit
import os
import shutil
import struct
import tempfile
import zlib
from functools import cache
from pathlib import Path

import numpy as np
import pillow_jxl  # noqa: F401 (Pillow reads and writes JPEG XL with it)
from diffusers.utils import load_image
from PIL import Image

# NAME or NAME-WIDTHxHEIGHT; the kinds of file of KINDS have sizes of their own.
KINDS = ("grey", "grey-alpha", "alpha", "palette", "bilevel", "grey16", "rgb16", "rgba16", "jpeg", "jpeg-grey",
         *(f"turned-{n}" for n in range(2, 9)), *(f"jpeg-turned-{n}" for n in (3, 6)),
         "webp-lossless", "webp-lossy", "webp-alpha", "webp-turned-6", "avif-lossless", "avif-lossy", "avif-420", "avif-alpha",
         *(f"avif-turned-{n}" for n in (2, 5, 6, 7)), "jxl-lossless", "jxl-lossy", "jxl-alpha", "jxl-grey")  # fmt: skip
# How Pillow, and pillow-jxl-plugin, are asked for the last ones.
SAVED = {
    "webp-lossless": {"lossless": True},
    "webp-lossy": {"quality": 90},
    "webp-alpha": {"lossless": True, "exact": True},
    "webp-turned-6": {"lossless": True},
    "avif-lossless": {"quality": 100, "subsampling": "4:4:4"},
    "avif-lossy": {"quality": 90, "subsampling": "4:4:4"},
    "avif-420": {"quality": 90, "subsampling": "4:2:0"},
    "jxl-lossless": {"lossless": True},
    "jxl-alpha": {"lossless": True},
    "jxl-grey": {"lossless": True},
    "jxl-lossy": {"quality": 90},
}
MASKS = ("disc", "ring", "corner", "strip", "column")  # NAME-WIDTHxHEIGHT too
SIZE = (57, 43)  # of KINDS: multiples of nothing


def drawn_mask(what: str, width: int, height: int) -> np.ndarray:
    """A mask, uint8 [height, width]: a soft disc left of the middle; its negative; a block in a corner; a wide strip and
    a tall one with black all around."""
    y, x = np.mgrid[0:height, 0:width]
    if what in ("disc", "ring"):
        radius = np.hypot((x - 0.4 * width) / width, (y - 0.5 * height) / height)
        disc = np.clip((0.36 - radius) * 1500, 0, 255).astype(np.uint8)
        return disc if what == "disc" else 255 - disc
    inside = {
        "corner": (x < width // 2) & (y < height // 2),
        "strip": (abs(y - height // 2) <= height // 10) & (x > width // 8) & (x < width * 7 // 8),
        "column": (abs(x - width // 3) <= width // 10) & (y > height // 8),
    }[what]
    return (inside * 255).astype(np.uint8)


def samples(width: int, height: int, seed: int = 0) -> np.ndarray:
    """Something to see: waves of every colour and a little grain, uint16 [height, width, 4]."""
    y, x = np.mgrid[0:height, 0:width] / 32.0
    random = np.random.default_rng(seed)
    waves = [np.sin(x * a + y * b + c) for a, b, c in random.uniform(-3, 3, (4, 3))]
    grain = random.normal(0, 0.08, (height, width, 4))
    return np.clip((np.stack(waves, -1) + grain + 1) / 2 * 65535, 0, 65535).astype(np.uint16)


def _png16(path: Path, array: np.ndarray) -> None:
    """Pillow writes no colours of 16 bits."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width, channels = array.shape
    colour = {1: 0, 3: 2, 4: 6}[channels]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in array)
    header = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def _write(kind: str, path: Path) -> None:
    wide = samples(*SIZE)
    array = (wide >> 8).astype(np.uint8)
    rgb = Image.fromarray(array[:, :, :3])
    if kind in ("grey16", "rgb16", "rgba16"):
        _png16(path, wide[:, :, : {"grey16": 1, "rgb16": 3, "rgba16": 4}[kind]])
    elif kind in SAVED or kind.startswith("avif"):
        modes = {"alpha": "RGBA", "grey": "L"}
        picture = Image.fromarray(array).convert(modes.get(kind.rpartition("-")[2], "RGB"))
        exif = Image.Exif()
        if "turned" in kind:
            exif[0x0112] = int(kind[-1])
        picture.save(path, exif=exif.tobytes() if "turned" in kind else b"", **SAVED.get(kind, {"quality": 90, "subsampling": "4:4:4"}))
    elif "turned" in kind:
        exif = Image.Exif()
        exif[0x0112] = int(kind[-1])
        rgb.save(path, exif=exif, **({"quality": 95} if "jpeg" in kind else {}))
    elif kind in ("jpeg", "jpeg-grey"):
        (rgb if kind == "jpeg" else rgb.convert("L")).save(path, quality=90)
    else:
        modes = {"grey": "L", "grey-alpha": "LA", "alpha": "RGBA", "palette": "P", "bilevel": "1"}
        Image.fromarray(array).convert(modes[kind]).save(path)


_kept: Path | None = None


def keep_in(folder: Path) -> None:
    """Files that are made from now on stay in this folder, which several processes may share."""
    global _kept
    folder.mkdir(parents=True, exist_ok=True)
    _kept = folder


@cache
def _temporary() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="sdgen-inputs-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@cache
def input_file(name: str) -> Path:
    ending = {"jpeg": "jpg", "webp": "webp", "avif": "avif", "jxl": "jxl"}.get(name.partition("-")[0], "png")
    path = (_kept or _temporary()) / f"{name}.{ending}"
    new = path.with_stem(f"{path.stem}-{os.getpid()}")
    _make(name, new)
    return new.replace(path)


def _make(name: str, path: Path) -> None:
    if name in KINDS:
        _write(name, path)
        return
    what, _, size = name.partition("-")
    width, height = map(int, size.split("x"))
    if what in MASKS:
        Image.fromarray(drawn_mask(what, width, height)).save(path)
    else:
        array = samples(width, height, seed={"photo": 0, "other": 1}[what])
        Image.fromarray((array >> 8).astype(np.uint8)[:, :, :3]).save(path)


def input_picture(name: str) -> Image.Image:
    """As diffusers reads it. Pillow clips 16-bit grey at 255, which leaves nothing but white: sdgen keeps the high byte."""
    if name == "grey16":
        return Image.fromarray((np.array(Image.open(input_file(name))) >> 8).astype(np.uint8)).convert("RGB")
    return load_image(str(input_file(name)))
