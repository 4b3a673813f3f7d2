#!/usr/bin/env python3
"""Compares `sdgen compare` with scikit-image's PSNR and SSIM (to 1e-6) and ImageHash's pHash (bit for bit), on random
pictures and on the PNG files of models/gallery:

    tools/compare_parity.py build/sdgen [PICTURE...]
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from reference.comparisons import measured

PICTURES = 120
CLOSE = 1e-6


def random_pictures() -> Iterator[np.ndarray]:
    """Noise, smooth shapes, flat areas of a few colours, gradients and single colours, from one pixel up."""
    random = np.random.default_rng(0)
    for index in range(PICTURES):
        height, width = random.integers(1, 90, 2)
        noise = random.integers(0, 256, (height, width, 3)).astype(np.uint8)
        if index % 5 == 1:
            noise = cv2.GaussianBlur(noise, (0, 0), 2.0).reshape(noise.shape)
        elif index % 5 == 2:
            noise = random.choice([0, 64, 255], (height, width, 1)).repeat(3, 2).astype(np.uint8)
        elif index % 5 == 3:
            noise = np.broadcast_to(np.linspace(0, 255, width)[None, :, None], noise.shape).astype(np.uint8)
        elif index % 5 == 4:
            noise = np.full_like(noise, random.integers(0, 256))
        yield np.ascontiguousarray(noise)


def changed(picture: np.ndarray, index: int) -> np.ndarray:
    """The picture, a little or much different."""
    random = np.random.default_rng(index)
    if index % 4 == 0:
        return picture[::-1, ::-1].copy()
    if index % 4 == 1:
        return random.integers(0, 256, picture.shape).astype(np.uint8)
    grain = random.integers(-2, 3, picture.shape) if index % 4 == 2 else random.integers(-40, 41, picture.shape)
    return np.clip(picture.astype(int) + grain, 0, 255).astype(np.uint8)


def agree(ours: dict, reference: dict) -> bool:
    exact = all(ours[key] == reference[key] for key in ("max", "hash"))
    near = all(
        (ours[key] is None) == (reference[key] is None) and (ours[key] is None or math.isclose(ours[key], reference[key], rel_tol=0, abs_tol=CLOSE))
        for key in ("mean", "psnr", "ssim")
    )
    return exact and near and ours["same"] == (reference["max"] == 0)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sdgen", type=Path)
    parser.add_argument("pictures", type=Path, nargs="*", metavar="PICTURE", help="instead of the gallery's")
    args = parser.parse_args()
    gallery = Path(__file__).parents[1] / "models" / "gallery"
    pictures = [*random_pictures()]
    for path in args.pictures or sorted(gallery.glob("*.png")):
        pictures.append(np.array(Image.open(path).convert("RGB")))
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="sdgen-compare-") as name:
        folder = Path(name)
        pairs = {}
        for side in "ab":
            (folder / side).mkdir()
        for index, picture in enumerate(pictures):
            pairs[f"{index:03}.png"] = picture, changed(picture, index)
            for side, each in zip("ab", pairs[f"{index:03}.png"], strict=True):
                Image.fromarray(each).save(folder / side / f"{index:03}.png")
        command = [args.sdgen, "compare", "--json", folder / "a", folder / "b"]
        lines = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout.splitlines()
        found = {Path(line["b"]).name: line for line in map(json.loads, lines)}
        for name, (a, b) in pairs.items():
            reference = measured(a, b)
            if name not in found or not agree(found[name], reference):
                wrong += 1
                print(f"{name} {a.shape}: sdgen {found.get(name)}, reference {reference}")
    print(f"comparisons: {len(pairs) - wrong} passed, {wrong} failed")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
