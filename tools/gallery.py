"""Makes the pictures of the embedded model in the READMEs again, with the seeds and words that are given there.

    python tools/gallery.py [--program build/sdgen] [--adapters build/adapters]

Writes models/gallery/{first,embedded,grid,image-to-image,inpainting}.png, and lora.png and controlnet.png where
tools/train_adapters.py has been.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parents[1]
GALLERY = ROOT / "models" / "gallery"
DRAWING, MASK = GALLERY / "drawing.png", GALLERY / "mask.png"
APPLE = "a red apple on a blue background"
FIRST = (
    *(APPLE, "一只红苹果", "a mushroom on a grey background", "a fox on a purple background"),
    *("a pizza on a pink background", "an avocado on a blue background", "绿色背景上的火箭", "a panda on a yellow background"),
)
GRID = (
    *(APPLE, "a panda on a yellow background", "a rocket on a green background", "a pizza on a pink background"),
    *("a fox on a purple background --steps 3", "a fox on a purple background --steps 12"),
)
SEED = ("-s", "7")


class Program:
    """Runs sdgen in a folder of its own."""

    def __init__(self, path: Path, folder: Path) -> None:
        self.path, self.folder, self.made = path.resolve(), folder, 0

    def __call__(self, *options: str | Path) -> Path:
        """The picture that the options make."""
        self.made += 1
        path = self.folder / f"{self.made}.png"
        subprocess.run([self.path, *options, "-o", path], check=True, stdout=subprocess.DEVNULL)
        return path

    def sheet(self, prompts: Path, shape: str) -> Path:
        """The first contact sheet of a run with a prompt file."""
        folder = self.folder / f"{prompts.stem}-sheet"
        folder.mkdir()
        subprocess.run([self.path, "--prompts", prompts, *SEED, "--grid", shape, "-o", f"{folder}/"], check=True, stdout=subprocess.DEVNULL)
        return min(folder.glob("grid-*.png"))


def side_by_side(paths: list[Path], to: Path, columns: int = 0, gap: int = 0) -> None:
    """Pastes pictures into rows; lower ones are centred."""
    pictures = [Image.open(path).convert("RGB") for path in paths]
    columns = columns or len(pictures)
    rows = [pictures[start : start + columns] for start in range(0, len(pictures), columns)]
    height = max(picture.height for picture in pictures)
    width = max(sum(picture.width for picture in row) + gap * (len(row) - 1) for row in rows)
    canvas = Image.new("RGB", (width, height * len(rows) + gap * (len(rows) - 1)), "white")
    for index, row in enumerate(rows):
        x = 0
        for picture in row:
            canvas.paste(picture, (x, index * (height + gap) + (height - picture.height) // 2))
            x += picture.width + gap
    canvas.save(to, optimize=True)


def shrunk(path: Path, to: Path) -> None:
    """A sheet in a palette, which takes a third of the bytes."""
    Image.open(path).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(to, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", type=Path, default=ROOT / "build" / "sdgen")
    parser.add_argument("--adapters", type=Path, default=ROOT / "build" / "adapters")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sdgen = Program(args.program, folder)
        side_by_side([sdgen("-p", prompt, *SEED) for prompt in FIRST], GALLERY / "first.png", columns=4)
        shrunk(sdgen.sheet(GALLERY / "embedded.txt", "10x4"), GALLERY / "embedded.png")
        jobs = folder / "jobs.txt"
        jobs.write_text("\n".join(GRID) + "\n")
        shrunk(sdgen.sheet(jobs, "3x2"), GALLERY / "grid.png")
        apple = ("-p", APPLE, *SEED, "-i", DRAWING)
        strengths = [sdgen(*apple, "--strength", strength) for strength in ("0.3", "0.6", "0.9")]
        side_by_side([DRAWING, *strengths], GALLERY / "image-to-image.png")
        panda = sdgen("-p", "a panda on a blue background", *SEED, "-i", DRAWING, "--mask", MASK, "--mask-blur", "6")
        wide = sdgen(*apple, "--extend", "0,0,96,0")
        side_by_side([DRAWING, MASK, panda, wide], GALLERY / "inpainting.png", gap=8)
        ink, outline = args.adapters / "ink.safetensors", args.adapters / "outline"
        if ink.exists():
            prompts = ("a fox on a purple background", "a rocket on a green background")
            pairs = [sdgen("-p", prompt, *SEED, *lora) for prompt in prompts for lora in ((), ("--lora", ink))]
            side_by_side(pairs, GALLERY / "lora.png", gap=4)
        if outline.exists():
            edges = folder / "edges.png"
            subprocess.run([sdgen.path, "canny", "-i", DRAWING, "-o", edges], check=True, stdout=subprocess.DEVNULL)
            steered = ("--controlnet", outline, "--control-image", edges, *SEED)
            drawn = [sdgen("-p", prompt, *steered) for prompt in (APPLE, "a pizza on a pink background")]
            side_by_side([DRAWING, edges, *drawn], GALLERY / "controlnet.png", gap=4)


if __name__ == "__main__":
    main()
