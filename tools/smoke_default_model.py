"""A smoke test of program and embedded model: do twenty fixed prompts give the pictures they gave when the model was made?

    python tools/smoke_default_model.py [--program build/sdgen] [--model models/default]
    python tools/smoke_default_model.py --update       # after a new model was made

Pictures are compared by perceptual hashes: the signs of the 8x8 lowest frequencies of the brightness (Zauner, 2010), except for the
mean and for those that are so near to zero that another kind of CPU or precision may turn them; and graded: of the things
and backgrounds as many must be right as when the model was made, less one. What is expected is in default_model/smoke.json. Then
the test is tested: the judge must tell rendered pictures from ones with another size, place or thing, and models of which one
part is nothing must be found out. Closes with "N passed, N failed".
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from scipy.fft import dctn

from default_model.concepts import EMOJI, Concept, load_concepts
from default_model.grade import Case, Judge, calibrated, cases
from default_model.render import Renderer
from default_model.scenes import single
from grade_default_model import PROGRAM, ROOT, make_pictures

EXPECTED = Path(__file__).with_name("default_model") / "smoke.json"
PICTURES = 20
EVERY = 41  # n-th thing, for new prompts
SURE = 0.1  # coefficients above this part of their root mean square have a sign
FAR = 4  # bits of a hash that may differ
LEAST_RIGHT = 16  # of twenty, for a model that is worth its place
CALIBRATED_BY = 40  # every n-th case
# What is made nothing of: a part of each network that pictures depend on
PARTS = {
    "unet/diffusion_pytorch_model.safetensors": "mid_block.",
    "vae/diffusion_pytorch_model.safetensors": "decoder.mid_block.resnets.0.",
    "text_encoder/model.safetensors": "layers.0.",
}


def perceptual_hash(picture: np.ndarray) -> tuple[str, str]:
    """The signs of a picture [n, n, 3] in 0..1 and which of them are sure, as 16 hexadecimal digits each."""
    grey = Image.fromarray((picture * 255).round().astype(np.uint8)).convert("L").resize((32, 32), Image.Resampling.BOX)
    low = dctn(np.asarray(grey, np.float64), norm="ortho")[:8, :8].ravel()
    low[0] = 0
    sure = np.abs(low) > SURE * np.sqrt(np.mean(low**2))

    def digits(bits: np.ndarray) -> str:
        return f"{sum(1 << place for place, bit in enumerate(bits) if bit):016x}"

    return digits(low > 0), digits(sure)


def expected_cases(expected: list[dict]) -> list[Case]:
    return [
        Case("one", "", each["prompt"], each["seed"], (single(EMOJI.index(each["emoji"]), None, None),), each["colour"])
        for each in expected
    ]


def right_of(todo: list[Case]) -> int:
    """How many show the right thing on the right background."""
    return sum(case.things_right and case.colour_right for case in todo)


def faults(pictures: list[np.ndarray], todo: list[Case], expected: dict) -> list[str]:
    """What is wrong with a model's pictures, which are judged, in words."""
    wrong = []
    for each, picture in zip(expected["pictures"], pictures, strict=True):
        found, _ = perceptual_hash(picture)
        far = ((int(found, 16) ^ int(each["hash"], 16)) & int(each["sure"], 16)).bit_count()
        if far > FAR:
            wrong.append(f"{each['prompt']!r} has the hash {found}, {far} bits from the expected {each['hash']}")
    right = right_of(todo)
    if right < expected["right"] - 1:
        wrong.append(f"{right} of {PICTURES} pictures are right, expected were {expected['right']}")
    return wrong


def update(program: Path, model: Path, judge: Judge, concepts: list[Concept]) -> None:
    """Writes what is expected from now on: ten prompts in English, ten in Chinese."""
    todo = cases(concepts, EVERY, ("one",))
    todo = [*todo[:PICTURES:2], *todo[PICTURES + 1 :: 2]][:PICTURES]
    new = [{"prompt": c.prompt, "seed": c.seed, "emoji": EMOJI[c.items[0].concept], "colour": c.colour} for c in todo]
    todo = expected_cases(new)
    drawn = make_pictures(program, model, todo, [])
    judge(todo, drawn)
    right = right_of(todo)
    if right < LEAST_RIGHT:
        raise SystemExit(f"{right} of {PICTURES} pictures are right: this model is broken")
    pictures = [each | {"hash": signs, "sure": sure} for each, (signs, sure) in zip(new, map(perceptual_hash, drawn), strict=True)]
    EXPECTED.write_text(json.dumps({"right": right, "pictures": pictures}, ensure_ascii=False, indent=1) + "\n")


def broken(model: Path, file: str, part: str, folder: Path) -> Path:
    """A copy of the model with nothing in one part of a network.

    Raises:
        ValueError: there is no such part.
    """
    copy = folder / file.split("/")[0]
    shutil.copytree(model, copy)
    tensors = load_file(copy / file)
    gone = [name for name in tensors if part in name]
    if not gone:
        raise ValueError(f"{file} has no {part}")
    save_file(tensors | {name: torch.zeros_like(tensors[name]) for name in gone}, copy / file, {"format": "pt"})
    return copy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", type=Path, default=PROGRAM)
    parser.add_argument("--model", type=Path, default=ROOT / "models" / "default")
    parser.add_argument("--update", action="store_true", help="write what is expected from now on")
    args = parser.parse_args()
    concepts = load_concepts()
    if args.update:
        update(args.program, args.model, Judge(Renderer(concepts)), concepts)
        return
    expected = json.loads(EXPECTED.read_text())
    names = ["", *PARTS]
    todo = {name: expected_cases(expected["pictures"]) for name in names}
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(1) as pool:  # the program draws while the judge is made
        models = [args.model, *(broken(args.model, file, part, Path(folder)) for file, part in PARTS.items())]
        runs = [pool.submit(make_pictures, args.program, model, todo[name], []) for name, model in zip(names, models, strict=True)]
        judge = Judge(Renderer(concepts))
        pictures = {name: run.result() for name, run in zip(names, runs, strict=True)}
    # All in one: the judge compares with every thing on every colour each time.
    judge([case for name in names for case in todo[name]], [picture for name in names for picture in pictures[name]])
    found = {name: faults(pictures[name], todo[name], expected) for name in names}
    failures = found[""] + [f"a model without {PARTS[name]} in {name} was not found out" for name in PARTS if not found[name]]
    tests = PICTURES + 1 + len(PARTS)
    for change, right in calibrated(judge, concepts, CALIBRATED_BY).items():
        tests += 1
        if (right < 0.95) if change == "right" else (right > 0.1):
            failures.append(f"{right:.0%} of rendered pictures are judged right ({change})")
    for failure in failures:
        print("FAILED:", failure)
    print(f"{tests - len(failures)} passed, {len(failures)} failed")
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
