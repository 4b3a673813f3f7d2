"""repaint.safetensors: what Pillow and diffusers' VaeImageProcessor make of pictures and masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from diffusers.image_processor import VaeImageProcessor
from PIL import Image

from .image_files import input_picture
from .tensors import save

BLURS = (1, 2, 3, 5, 8, 13, 40, 200)
FITS = ((16, 48), (48, 16), (20, 21), (64, 40), (8, 8), (15, 120))


def write_repaint_fixtures(path: Path) -> None:
    processor = VaeImageProcessor()
    photo, other = input_picture("photo-45x37"), input_picture("other-45x37")
    tensors = {"photo": photo, "other": other}
    tensors |= {f"blur-{n}": VaeImageProcessor.blur(photo, n) for n in BLURS}
    for width, height in FITS:
        tensors[f"fill-{width}x{height}"] = processor._resize_and_fill(photo, width, height)
        tensors[f"crop-{width}x{height}"] = processor._resize_and_crop(photo, width, height)
    # Every value of made, kept and mask meets many of the others.
    values = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    values[2, :, :32] = (0, 0, 0)
    values[2, :, 32:48] = (255, 255, 255)
    made, kept, mask = map(Image.fromarray, values)
    tensors |= {"made": made, "kept": kept, "mask": mask, "overlaid": processor.apply_overlay(mask, kept, made)}
    arrays = {name: torch.from_numpy(np.array(image)) for name, image in tensors.items()}
    save(path, arrays, {"regions": _regions()})


def _regions() -> list[list[int]]:
    """Width and height of a mask, the white box in it, the size that is made, padding; the region."""
    random, cases = np.random.default_rng(1), []
    while len(cases) < 300:
        width, height = (int(n) for n in random.integers(1, 90, 2))
        left, right = sorted(int(n) for n in random.integers(0, width + 1, 2))
        top, bottom = sorted(int(n) for n in random.integers(0, height + 1, 2))
        if left == right or top == bottom:
            continue
        made = [int(n) * 8 for n in random.integers(1, 12, 2)]
        padding = int(random.choice([0, 1, 7, 40]))
        mask = np.zeros((height, width), np.uint8)
        mask[top:bottom, left:right] = 1
        region = VaeImageProcessor.get_crop_region(Image.fromarray(mask), *made, pad=padding)
        if region[2] > region[0] and region[3] > region[1]:
            cases.append([width, height, left, top, right, bottom, *made, padding, *map(int, region)])
    return cases
