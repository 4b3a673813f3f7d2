"""Grades the embedded model: does the program draw the things and the background that prompts name?

    python tools/grade_default_model.py [models/default] [--json grade.json] [--sheet grade.png]

Prompts, phrasings, and pairs of things and colours are ones that training did not see; what counts as right is described in
default_model/grade.py. Pictures come from build/sdgen, by the model's own settings where none are said. `--autoencoder` measures
the peak signal-to-noise ratio of what the autoencoder makes of the things instead; `--words` checks, in seconds, that the program knows all the prompts' words.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from default_model.concepts import COLOURS, Concept, load_concepts
from default_model.grade import ELSEWHERE, KINDS, Case, Judge, cases, summary
from default_model.render import Renderer
from default_model.scenes import PICTURE, Scene, held_out, single

ROOT = Path(__file__).parents[1]
PROGRAM = ROOT / "build" / "sdgen"


def make_pictures(program: Path, model: Path, todo: list[Case], options: list[str], batch: int = 16) -> list[np.ndarray]:
    """What the program draws for all cases, float32 [n, n, 3] in 0..1."""
    with tempfile.TemporaryDirectory() as folder:
        lines = "".join(json.dumps({"prompt": case.prompt, "seed": case.seed}) + "\n" for case in todo)
        command = [program, "-m", model, "--prompts", "-", "-o", f"{folder}/{{index:06}}.png", "--batch-size", str(batch)]
        subprocess.run([*command, "--no-manifest", *options], input=lines, text=True, check=True, stdout=subprocess.DEVNULL)
        return [np.asarray(Image.open(path), np.float32) / 255 for path in sorted(Path(folder).glob("*.png"))]


def warnings(program: Path, model: Path, todo: list[Case]) -> list[str]:
    """What the program says of words in the prompts that the model does not know: nothing, for it knows them all."""
    with tempfile.TemporaryDirectory() as folder:
        prompts = Path(folder, "prompts.jsonl")
        prompts.write_text("".join(json.dumps({"prompt": case.prompt}) + "\n" for case in todo))
        command = [program, "-m", model, "--prompts", prompts, "-o", f"{folder}/{{index:06}}.png", "--batch-size", "64", "--seed", "1"]
        small = ["--steps", "1", "-W", "16", "-H", "16", "--no-manifest"]
        made = subprocess.run([*command, *small], text=True, check=True, capture_output=True)
        return [line for line in made.stderr.splitlines() if "warning: " in line]


def sheet(todo: list[Case], pictures: list[np.ndarray], path: Path, columns: int = 32, edge: int = 64) -> None:
    """All pictures on one sheet; a red frame marks wrong things, a white one right ones."""
    rows = -(-len(todo) // columns)
    canvas = Image.new("RGB", (columns * (edge + 4), rows * (edge + 4)), "white")
    for index, (case, picture) in enumerate(zip(todo, pictures, strict=True)):
        frame = Image.new("RGB", (edge + 4, edge + 4), "white" if case.things_right else "red")
        small = Image.fromarray((picture * 255).round().astype(np.uint8)).resize((edge, edge), Image.Resampling.BOX)
        frame.paste(small, (2, 2))
        canvas.paste(frame, ((index % columns) * (edge + 4), (index // columns) * (edge + 4)))
    canvas.save(path)


def autoencoder_psnr(model: Path, concepts: list[Concept], renderer: Renderer) -> dict[str, float]:
    """dB over the glyphs' squares, each thing on its held-out colour: in the mean of the things, of the mean squared error of all, and
    the worst thing's; and over whole pictures, in the mean."""
    import torch
    from diffusers import AutoencoderKL

    net = AutoencoderKL.from_pretrained(model, subfolder="vae", dtype=torch.float32)
    errors, whole = [], []
    for index in range(len(concepts)):
        item = single(index, None, None)
        colour = next(c for c in range(1, len(COLOURS)) if held_out(index, c))
        picture = torch.from_numpy(renderer(Scene((item,), colour))).permute(2, 0, 1)[None]
        with torch.no_grad():
            made = net.decode(net.encode(picture * 2 - 1).latent_dist.mean).sample / 2 + 0.5
        start = (PICTURE - item.edge) // 2
        square = (..., slice(start, start + item.edge), slice(start, start + item.edge))
        error = (made.clamp(0, 1) - picture).square()
        errors.append(float(error[square].mean()))
        whole.append(float(error.mean()))
    decibels = -10 * np.log10(errors)
    return {
        "all": float(-10 * np.log10(np.mean(errors))),
        "mean": float(decibels.mean()),
        "least": float(decibels.min()),
        "least_thing": concepts[int(np.argmax(errors))].en[0],
        "whole_mean": float((-10 * np.log10(whole)).mean()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, nargs="?", default=ROOT / "models" / "default")
    parser.add_argument("--program", type=Path, default=PROGRAM)
    parser.add_argument("--every", type=int, default=1, help="only every n-th case (all things are candidates)")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--json", type=Path, help="also write the result here, with every wrong picture")
    parser.add_argument("--sheet", type=Path, help="write a contact sheet (PNG)")
    parser.add_argument("--autoencoder", action="store_true")
    parser.add_argument("--words", action="store_true", help="only check that the program warns of no prompt's words")
    parser.epilog = "Options for the program follow after --: -- --steps 8 --scheduler euler -W 96 -H 96"
    own, options = sys.argv[1:], []
    if "--" in own:
        own, options = own[: own.index("--")], own[own.index("--") + 1 :]
    args = parser.parse_args(own)

    concepts = load_concepts()
    renderer = Renderer(concepts)
    if args.autoencoder:
        print(json.dumps(autoencoder_psnr(args.model, concepts, renderer)))
        return
    todo = cases(concepts, args.every, args.kinds)
    if args.words:
        found = warnings(args.program, args.model, todo)
        print("\n".join([*found, f"{len(todo)} prompts, {'warnings' if found else 'no warning'}"]))
        sys.exit(1 if found else 0)
    pictures = make_pictures(args.program, args.model, todo, options)
    Judge(renderer)(todo, pictures)
    result = summary(todo)
    print(f"{'prompts':<10}{'pictures':>9}{'things':>8}{'colour':>8}{'likeness':>12}")
    for name, found in result.items():
        print(f"{name:<10}{found['pictures']:>9}{found['things']:>8.1%}{found['colour']:>8.1%}{found['likeness']:>9.2f} dB")
    print(json.dumps(result))
    if args.json:
        wrong = [
            {
                "prompt": case.prompt,
                "seed": case.seed,
                "found": ["elsewhere" if thing == ELSEWHERE else concepts[thing].en[0] for thing in case.found],
                "ground": COLOURS[case.found_colour].en[0],
            }
            for case in todo
            if not (case.things_right and case.colour_right)
        ]
        args.json.write_text(json.dumps(result | {"wrong": wrong}, ensure_ascii=False, indent=1) + "\n")
    if args.sheet:
        sheet(todo, pictures, args.sheet)


if __name__ == "__main__":
    main()
