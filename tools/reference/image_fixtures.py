"""images/: picture files of every kind, what Pillow reads from them, and what its LANCZOS resize makes of one."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from .image_files import KINDS, input_file, input_picture
from .tensors import save

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
