#!/usr/bin/env python3
"""What --cache and --guidance-interval save, and how far their pictures are from those without: a row for each setting.

    tools/fewer_calls_bench.py --sdgen build/sdgen -m models/default
    tools/fewer_calls_bench.py --sdgen build/sdgen -m /work/m/sd15 --settings "--cache deepcache:3" --pictures 1 -W 512 -H 512

Settings take turns, `--repeat` times. Of each the time of a step is the least that was measured: the denoising of all pictures
divided by steps and pictures, as --json tells it. Pictures are compared by `sdgen compare`; the table has their median and least PSNR."""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import tempfile
from pathlib import Path

SETTINGS = (
    "--cache deepcache:2",
    "--cache deepcache:3",
    "--cache deepcache:3:2",
    "--cache deepcache:5",
    "--guidance-interval 0,0.8",
    "--guidance-interval 0.1,0.8",
    "--cache deepcache:3 --guidance-interval 0,0.8",
    "--cache deepcache:2 --guidance-interval 0,0.8",
)
PROMPTS = ("a red apple", "a blue house", "a green bird", "a yellow car", "a purple star", "an orange cat", "a pink flower", "a white boat")


def draw(args: argparse.Namespace, setting: str, folder: Path) -> float:
    """Draws the pictures; seconds of denoising a step and picture."""
    lines = folder.with_suffix(".txt")
    lines.write_text("".join(f"{PROMPTS[i % len(PROMPTS)]}\n" for i in range(args.pictures)))
    words = [args.sdgen, "-m", args.model, "--prompts", str(lines), "-s", "1", "--steps", str(args.steps), "-o", f"{folder}/{{index}}.png",
             "--overwrite", "--json", "-q", *setting.split(), *args.more]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    seconds = [json.loads(line)["timings"]["denoise"] for line in done.stdout.splitlines()]
    return sum(seconds) / len(seconds) / args.steps


def distances(args: argparse.Namespace, a: Path, b: Path) -> list[float]:
    done = subprocess.run([args.sdgen, "compare", str(a), str(b), "--json", "-q"], capture_output=True, text=True)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    if len(lines) != args.pictures:
        raise SystemExit(f"{a}, {b}: {len(lines)} pairs, not {args.pictures}: {done.stderr}")
    return [float("inf") if line["psnr"] is None else line["psnr"] for line in lines]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sdgen", default="build/sdgen")
    parser.add_argument("-m", "--model", default="models/default")
    parser.add_argument("--settings", nargs="*", default=SETTINGS)
    parser.add_argument("--pictures", type=int, default=8)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--repeat", type=int, default=3)
    args, args.more = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as scratch:
        folders = {setting: Path(scratch) / str(i) for i, setting in enumerate(("", *args.settings))}
        least = dict.fromkeys(folders, float("inf"))
        for _ in range(args.repeat):
            for setting, folder in folders.items():
                least[setting] = min(least[setting], draw(args, setting, folder))
        print("| setting | a step | faster by | PSNR, median | least |\n|---|---|---|---|---|")
        print(f"| none | {1000 * least['']:.1f} ms | | | |")
        for setting in args.settings:
            psnr = distances(args, folders[""], folders[setting])
            print(f"| `{setting}` | {1000 * least[setting]:.1f} ms | {least[''] / least[setting]:.2f} x | {statistics.median(psnr):.1f} dB | {min(psnr):.1f} dB |")


if __name__ == "__main__":
    main()
