"""images/: picture files of every kind, what Pillow reads from them, what its LANCZOS resize makes of one, and what others
say of their edges and differences."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image

from .comparisons import compared_pictures, write_comparisons
from .image_files import KINDS, input_file, input_picture
from .tensors import save

EDGES = ((100, 200), (50.7, 60.2), (200, 100), (0, 0), (0, 2040))  # thresholds
SIZES = ((57, 43), (24, 16), (112, 88), (57, 8), (8, 43), (1, 1), (200, 3), (56, 40))  # width, height


def _tensor(picture: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(picture))


def write_image_fixtures(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for kind in KINDS:
        shutil.copy(input_file(kind), folder)
    photo = input_picture("rgb16")
    tensors = {kind: _tensor(input_picture(kind)) for kind in KINDS}
    for width, height in SIZES:
        tensors[f"resized-{width}x{height}"] = _tensor(photo.resize((width, height), Image.Resampling.LANCZOS))
    save(folder / "expected.safetensors", tensors, {})
    write_refused(folder)
    write_edges(folder / "edges.safetensors")
    write_comparisons(folder / "compare.safetensors", compared_pictures(photo, input_picture("jpeg")))


def write_refused(folder: Path) -> None:
    """What is refused by name: animations, and pictures larger than any that is read. And masks in the opacity, black ones."""
    photo = input_picture("rgb16")
    for ending in ("webp", "avif"):
        photo.save(folder / f"animated.{ending}", save_all=True, append_images=[photo.rotate(180)], duration=100)
    with tempfile.TemporaryDirectory() as scratch:  # pillow-jxl-plugin writes none; cjxl is Debian's libjxl-tools
        frames = Path(scratch) / "frames.apng"
        photo.save(frames, "PNG", save_all=True, append_images=[photo.rotate(180)], duration=100)
        subprocess.run(["cjxl", "--quiet", frames, folder / "animated.jxl"], check=True)
    black = Image.new("RGB", (16383, 16383))
    black.save(folder / "webp-large.webp", lossless=True)
    Image.new("L", (16385, 8)).save(folder / "jxl-large.jxl", lossless=True)
    opacity = Image.new("L", (57, 43))
    opacity.paste(255, (0, 0, 57, 20))
    mask = Image.new("RGBA", (57, 43))
    mask.putalpha(opacity)
    mask.save(folder / "webp-mask.webp", lossless=True, exact=True)
    mask.save(folder / "avif-mask.avif", quality=100, subsampling="4:4:4")
    mask.save(folder / "jxl-mask.jxl", lossless=True)


def write_edges(path: Path) -> None:
    """OpenCV's edges of two pictures, white on black."""
    tensors = {}
    for kind in ("rgb16", "jpeg"):
        grey = cv2.cvtColor(np.array(input_picture(kind)), cv2.COLOR_RGB2GRAY)
        tensors |= {f"{kind}-of": torch.from_numpy(np.array(input_picture(kind)))}
        for low, high in EDGES:
            edges = cv2.Canny(grey, low, high)
            tensors[f"{kind}-{low}-{high}"] = torch.from_numpy(edges[:, :, None].repeat(3, 2))
    save(path, tensors, {})
