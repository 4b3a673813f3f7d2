"""What scikit-image and ImageHash say of two pictures, and the fixtures of it."""

from __future__ import annotations

from pathlib import Path

import imagehash
import numpy as np
import torch
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from .tensors import save

WINDOW = 7  # of the structural similarity


def measured(a: np.ndarray, b: np.ndarray) -> dict:
    """The measures of two uint8 [height, width, 3], as `sdgen compare --json` has them."""
    difference = np.abs(a.astype(int) - b)
    equal = not difference.any()
    return {
        "max": int(difference.max()),
        "mean": float(difference.mean()),
        "psnr": None if equal else float(peak_signal_noise_ratio(a, b)),
        "ssim": None if min(a.shape[:2]) < WINDOW else float(structural_similarity(a, b, channel_axis=2)),
        "hash": int(imagehash.phash(Image.fromarray(a)) - imagehash.phash(Image.fromarray(b))),
    }


def write_comparisons(path: Path, pictures: dict[str, np.ndarray]) -> None:
    """Pictures (uint8 [height, width, 3]), their hashes (NAME.hash, 64 bits from the top left), and for some pairs
    A.B: max, mean, PSNR, SSIM (-2: there is none), bits of difference."""
    tensors = {}
    for name, picture in pictures.items():
        tensors[name] = torch.from_numpy(picture)
        tensors[f"{name}.hash"] = torch.from_numpy(imagehash.phash(Image.fromarray(picture)).hash.reshape(-1).astype(np.uint8))
    for a, first in pictures.items():
        for b, second in pictures.items():
            if a < b and first.shape == second.shape:
                values = measured(first, second).values()
                tensors[f"{a}.{b}"] = torch.tensor([-2 if value is None else value for value in values], dtype=torch.float64)
    save(path, tensors, {})


def compared_pictures(photo: Image.Image, jpeg: Image.Image) -> dict[str, np.ndarray]:
    """A photograph in several states, all of one size; a small one; and what has no frequencies."""
    random = np.random.default_rng(7)
    sharp = np.array(photo)
    return {
        "photo": sharp,
        "grain": np.clip(sharp.astype(int) + random.integers(-3, 4, sharp.shape), 0, 255).astype(np.uint8),
        "jpeg": np.array(jpeg),
        "noise": random.integers(0, 256, sharp.shape).astype(np.uint8),
        "black": np.zeros_like(sharp),
        "grey": np.full_like(sharp, 128),
        "slope": np.ascontiguousarray(np.broadcast_to(np.linspace(0, 255, sharp.shape[1])[None, :, None], sharp.shape).astype(np.uint8)),
        "small": np.array(photo.resize((9, 6))),
        "small2": np.array(photo.resize((9, 6)).rotate(180)),
        "window": np.array(photo.resize((7, 7))),
        "window2": np.array(jpeg.resize((7, 7))),
        "large": np.array(photo.resize((112, 88))),
    }
