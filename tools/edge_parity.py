#!/usr/bin/env python3
"""Compares `sdgen canny` with OpenCV's Canny, bit for bit, on random pictures and on the PNG files of models/gallery:

    tools/edge_parity.py build/sdgen [PICTURE...]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

THRESHOLDS = ((100, 200), (50.7, 60.2), (200, 100), (0, 0))
PICTURES = 60


def random_pictures() -> Iterator[np.ndarray]:
    """Noise, smooth shapes with soft edges of every direction, and flat areas of a few colours, from one pixel up."""
    random = np.random.default_rng(0)
    for index in range(PICTURES):
        height, width = random.integers(1, 90, 2)
        noise = random.integers(0, 256, (height, width, 3)).astype(np.uint8)
        if index % 3 == 1:
            smooth = cv2.GaussianBlur(noise, (0, 0), 2.0).reshape(noise.shape).astype(np.float64)
            noise = ((smooth - smooth.min()) / max(smooth.max() - smooth.min(), 1) * 255).astype(np.uint8)
        elif index % 3 == 2:
            noise = random.choice([0, 64, 255], (height, width, 1)).repeat(3, 2).astype(np.uint8)
        yield noise


def differing(sdgen: Path, picture: np.ndarray, folder: Path) -> int:
    """How many of the picture's edge maps differ in a pixel."""
    source, target = folder / "picture.png", folder / "edges.png"
    Image.fromarray(picture).save(source)
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    wrong = 0
    for low, high in THRESHOLDS:
        command = [sdgen, "canny", "-i", source, "-o", target, f"--low={low}", f"--high={high}", "--overwrite"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        ours = np.array(Image.open(target))
        wrong += not (ours == cv2.Canny(grey, low, high)[:, :, None]).all()
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sdgen", type=Path)
    parser.add_argument("pictures", type=Path, nargs="*", metavar="PICTURE", help="instead of the gallery's")
    args = parser.parse_args()
    gallery = Path(__file__).parents[1] / "models" / "gallery"
    pictures = [*random_pictures()]
    for path in args.pictures or sorted(gallery.glob("*.png")):
        pictures.append(np.array(Image.open(path).convert("RGB")))
    with tempfile.TemporaryDirectory(prefix="sdgen-edges-") as folder:
        wrong = sum(differing(args.sdgen, picture, Path(folder)) for picture in pictures)
    total = len(pictures) * len(THRESHOLDS)
    print(f"edges: {total - wrong} passed, {wrong} failed")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
