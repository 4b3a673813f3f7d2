"""A smoke test of program and embedded model: do twenty fixed prompts give the pictures they gave when the model was made?

    python tools/smoke_default_model.py [--program build/sdgen] [--model models/default]
    python tools/smoke_default_model.py --update       # after a new model was made

Pictures are compared by perceptual hashes (signs of the 8x8 lowest frequencies of the brightness, but for the mean; Zauner 2010),
of which FAR of 63 bits may differ, so that another kind of CPU and another precision pass; and graded: at least as many things
right as when the model was made, less one. Then models are broken on purpose, a network after the other, and must be found
out. Closes with "N passed, N failed".
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from scipy.fft import dctn

from default_model.concepts import load_concepts
from default_model.grade import Case, Judge, cases
from default_model.render import Renderer
from grade_default_model import PROGRAM, ROOT, make_pictures

EXPECTED = Path(__file__).with_name("default_model") / "smoke.json"
EVERY = 42  # 21 things alone, in two languages; every other is taken
PICTURES = 20
FAR = 12  # bits of a hash
WEIGHTS = "diffusion_pytorch_model.safetensors"
NETWORKS = {"unet": WEIGHTS, "vae": WEIGHTS, "text_encoder": "model.safetensors"}


def perceptual_hash(picture: np.ndarray) -> str:
    """16 hexadecimal digits for a picture [n, n, 3] in 0..1."""
    grey = Image.fromarray((picture * 255).round().astype(np.uint8)).convert("L").resize((32, 32), Image.Resampling.BOX)
    low = dctn(np.asarray(grey, np.float64), norm="ortho")[:8, :8].ravel()
    low[0] = 0
    return f"{sum(1 << bit for bit, value in enumerate(low) if value > 0):016x}"


def bits_apart(first: str, second: str) -> int:
    """Hamming distance of two hashes."""
    return (int(first, 16) ^ int(second, 16)).bit_count()


def fixed_cases() -> list[Case]:
    """The twenty."""
    return cases(load_concepts(), EVERY, ("one",))[::2][:10] + cases(load_concepts(), EVERY, ("one",))[1::2][10:20]


def look(program: Path, model: Path, judge: Judge) -> tuple[list[str], int]:
    """The twenty pictures' hashes, and how many show the right thing on the right background."""
    todo = fixed_cases()
    pictures = make_pictures(program, model, todo, [])
    judge(todo, pictures)
    return [perceptual_hash(picture) for picture in pictures], sum(c.things_right and c.colour_right for c in todo)


def faults(found: tuple[list[str], int], expected: dict) -> list[str]:
    """What is wrong, in words."""
    hashes, right = found
    far = [index for index, pair in enumerate(zip(hashes, expected["hashes"], strict=True)) if bits_apart(*pair) > FAR]
    wrong = [f"picture {index}: its hash is {hashes[index]}, expected was {expected['hashes'][index]}" for index in far]
    if right < expected["right"] - 1:
        wrong.append(f"{right} of {PICTURES} pictures are right, expected were {expected['right']}")
    return wrong


def broken(model: Path, network: str, folder: Path) -> Path:
    """A copy of the model with a tenth of the weights of one network, the largest tensors, set to zero."""
    copy = folder / network
    shutil.copytree(model, copy)
    path = copy / network / NETWORKS[network]
    tensors = load_file(path)
    for name in sorted(tensors, key=lambda name: -tensors[name].numel())[: max(len(tensors) // 10, 1)]:
        tensors[name] = torch.zeros_like(tensors[name])
    save_file(tensors, path, {"format": "pt"})
    return copy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", type=Path, default=PROGRAM)
    parser.add_argument("--model", type=Path, default=ROOT / "models" / "default")
    parser.add_argument("--update", action="store_true", help="write what is expected from now on")
    args = parser.parse_args()
    judge = Judge(Renderer(load_concepts()))
    found = look(args.program, args.model, judge)
    if args.update:
        EXPECTED.write_text(json.dumps({"right": found[1], "hashes": found[0]}, indent=1) + "\n")
        return
    expected = json.loads(EXPECTED.read_text())
    passed = failed = 0
    wrong = faults(found, expected)
    for line in wrong:
        print("FAILED:", line)
    failed += len(wrong)
    passed += PICTURES + 1 - len(wrong)
    with tempfile.TemporaryDirectory() as folder:
        for network in NETWORKS:
            if faults(look(args.program, broken(args.model, network, Path(folder)), judge), expected):
                passed += 1
            else:
                print(f"FAILED: a broken {network} was not found out")
                failed += 1
    print(f"{passed} passed, {failed} failed")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
