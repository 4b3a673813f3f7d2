"""Grades the embedded model: does it draw the thing and the background that the prompt names?

    python tools/grade_default_model.py models/default --json grade.json --sheet grade.png

Every concept gets one English and one Chinese prompt with a background colour, two seeds each. A picture counts as
right when, among all concepts' glyphs on that background, the nearest by squared pixel distance at 32x32 is the right
one. Size and place vary in the training set, so each concept stands for itself at GRID_SIZES x GRID_OFFSETS squared,
and the nearest of these counts; the grid is the same for all concepts. The background counts as right when, of the
twelve colours, the nearest to the median of the picture's border is the named one.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from default_model.captions import UNCOUNTED, article
from default_model.concepts import COLOURS, Concept, load_concepts
from default_model.export import load_pipeline
from default_model.render import PICTURE, SIZES, Draw, Renderer

SMALL = 32  # edge at which pictures are compared
GRID_SIZES = (80, 88, 96, 104, 112)  # glyph edges in pixels of the full picture
GRID_OFFSETS = (-4, 0, 4)  # offsets from the centre, both axes, in pixels of the full picture
BORDER = 4  # width of the border in pixels
BATCH = 30


@dataclass
class Case:
    """One picture to make, and what came of it."""

    language: str
    concept: int
    colour: int
    seed: int
    prompt: str
    found: int = -1
    found_colour: int = -1


def cases(concepts: list[Concept], seeds: int) -> list[Case]:
    """All pictures to make; colours take turns."""
    made = []
    for index, concept in enumerate(concepts):
        colour = (5 * index + index // 12) % len(COLOURS)
        english, ground = concept.en[0], COLOURS[colour].en[0]
        subject = english if english in UNCOUNTED else f"{article(english)} {english}"
        prompts = {
            "en": f"{subject} on {article(ground)} {ground} background",
            "zh": f"{COLOURS[colour].zh[0]}背景上的{concept.zh[0]}",
        }
        for language, prompt in prompts.items():
            made += [Case(language, index, colour, seed, prompt) for seed in range(seeds)]
    return made


def shrink(pictures: np.ndarray) -> np.ndarray:
    """[n, 128, 128, 3] to the means of squares, [n, 32 * 32 * 3]."""
    count, factor = len(pictures), PICTURE // SMALL
    return pictures.reshape(count, SMALL, factor, SMALL, factor, 3).mean((2, 4)).reshape(count, -1)


def candidates(renderer: Renderer, concept: int, colour: int) -> np.ndarray:
    """The concept on the colour at every size and offset of the grid, shrunk."""
    pictures = []
    for edge in GRID_SIZES:
        margin = (PICTURE - edge) // 2
        pictures += [
            renderer(Draw(concept, colour, SIZES.index(edge), margin + x, margin + y))
            for x in GRID_OFFSETS
            for y in GRID_OFFSETS
        ]
    return shrink(np.stack(pictures))


def judge(group: list[Case], pictures: np.ndarray, renderer: Renderer, concepts: int) -> None:
    """Fills in `found` and `found_colour` of cases that share a background; pictures [n, 128, 128, 3] in 0..1."""
    small = shrink(pictures)
    distances = np.empty((len(group), concepts), np.float32)
    for concept in range(concepts):
        shown = candidates(renderer, concept, group[0].colour)
        squares = (small**2).sum(1)[:, None] - 2 * small @ shown.T + (shown**2).sum(1)
        distances[:, concept] = squares.min(1)
    inside = np.zeros((PICTURE, PICTURE), bool)
    inside[BORDER:-BORDER, BORDER:-BORDER] = True
    borders = np.median(pictures[:, ~inside], axis=1)
    palette = np.asarray([colour.rgb for colour in COLOURS], np.float32) / 255
    for case, row, border in zip(group, distances, borders, strict=True):
        case.found = int(row.argmin())
        case.found_colour = int(((palette - border) ** 2).sum(1).argmin())


def make_pictures(folder: Path, todo: list[Case], steps: int, guidance: float, device: torch.device) -> np.ndarray:
    """Pictures of all cases with diffusers, float32 [n, 128, 128, 3] in 0..1."""
    pipeline = load_pipeline(folder, device)
    made = []
    for start in range(0, len(todo), BATCH):
        part = todo[start : start + BATCH]
        made.append(
            pipeline(
                [case.prompt for case in part],
                generator=[torch.Generator().manual_seed(case.seed) for case in part],
                num_inference_steps=steps,
                guidance_scale=guidance,
                height=PICTURE,
                width=PICTURE,
                output_type="np",
            ).images
        )
        print(f"{start + len(part)}/{len(todo)}", end="\r", flush=True)
    return np.concatenate(made)


def sheet(todo: list[Case], pictures: np.ndarray, path: Path, columns: int = 30, edge: int = 64) -> None:
    """All pictures on one sheet; a red frame marks a wrong glyph, a white one a right glyph."""
    rows = -(-len(todo) // columns)
    canvas = Image.new("RGB", (columns * (edge + 4), rows * (edge + 4)), "white")
    for index, (case, picture) in enumerate(zip(todo, pictures, strict=True)):
        frame = Image.new("RGB", (edge + 4, edge + 4), "white" if case.found == case.concept else "red")
        small = Image.fromarray((picture * 255).round().astype(np.uint8)).resize((edge, edge), Image.Resampling.BOX)
        frame.paste(small, (2, 2))
        canvas.paste(frame, ((index % columns) * (edge + 4), (index // columns) * (edge + 4)))
    canvas.save(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--steps", type=int, help="default: the model's sdgen.json")
    parser.add_argument("--guidance-scale", type=float)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--every", type=int, default=1, help="only every n-th concept is drawn (all are candidates)")
    parser.add_argument("--json", type=Path, help="also write the result here, with every wrong picture")
    parser.add_argument("--sheet", type=Path, help="write a contact sheet (PNG)")
    args = parser.parse_args()
    settings = json.loads((args.model / "sdgen.json").read_text())
    steps = args.steps or settings["steps"]
    guidance = settings["guidance_scale"] if args.guidance_scale is None else args.guidance_scale

    concepts = load_concepts()
    renderer = Renderer(concepts)
    todo = [case for case in cases(concepts, args.seeds) if case.concept % args.every == 0]
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    pictures = make_pictures(args.model, todo, steps, guidance, device)
    for colour in range(len(COLOURS)):
        rows = [index for index, case in enumerate(todo) if case.colour == colour]
        if rows:
            judge([todo[index] for index in rows], pictures[rows], renderer, len(concepts))

    result = {"steps": steps, "guidance_scale": guidance, "concepts": len({case.concept for case in todo})}
    print(f"{'language':<10}{'pictures':>9}{'glyph':>8}{'colour':>8}")
    for language in ("en", "zh", "all"):
        part = [case for case in todo if language in (case.language, "all")]
        glyph = sum(case.found == case.concept for case in part) / len(part)
        colour = sum(case.found_colour == case.colour for case in part) / len(part)
        result[language] = {"pictures": len(part), "glyph": round(glyph, 4), "colour": round(colour, 4)}
        print(f"{language:<10}{len(part):>9}{glyph:>8.1%}{colour:>8.1%}")
    print(json.dumps(result))
    if args.json:
        wrong = [
            {
                "prompt": case.prompt,
                "seed": case.seed,
                "found": concepts[case.found].en[0],
                "ground": COLOURS[case.found_colour].en[0],
            }
            for case in todo
            if case.found != case.concept or case.found_colour != case.colour
        ]
        args.json.write_text(json.dumps(result | {"wrong": wrong}, ensure_ascii=False, indent=1) + "\n")
    if args.sheet:
        sheet(todo, pictures, args.sheet)


if __name__ == "__main__":
    main()
