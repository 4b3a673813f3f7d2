#!/usr/bin/env python3
"""What --cache and --guidance-interval save, and how far their pictures are from those without: a row for each setting.

    python tools/fewer_calls_bench.py                                        # the embedded model
    python tools/fewer_calls_bench.py --grade 8 --repeat 5
    python tools/fewer_calls_bench.py -m MODEL --settings "--cache deepcache:3" --pictures 1 --repeat 1 -- -W 512 -H 512 --dtype bfloat16

Settings take turns, `--repeat` times. Of each, the least time counts: the denoising of all pictures, as --json tells it, divided by
their number. What a setting is compared with is drawn with as many steps and without it; a setting may say --steps itself, as a
row for plainly fewer steps does. Pictures are compared by `sdgen compare`; the table has the median and the least PSNR. --grade N
has every Nth thing of tools/grade_default_model.py drawn, too: the share of right things and of right backgrounds.
What follows `--` goes to sdgen at every setting."""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
SETTINGS = (
    "--steps 10",
    "--cache deepcache:2",
    "--cache deepcache:3",
    "--cache deepcache:5",
    "--guidance-interval 0,0.8",
    "--guidance-interval 0,0.5",
    "--cache deepcache:2 --guidance-interval 0,0.8",
    "--cache deepcache:2 --guidance-interval 0,0.5",
    "--cache deepcache:3 --guidance-interval 0,0.5",
)  # fmt: skip


def with_steps(args: argparse.Namespace, setting: str) -> list[str]:
    words = setting.split()
    return words if "--steps" in words else ["--steps", str(args.steps), *words]


def draw(args: argparse.Namespace, setting: str, folder: Path) -> float:
    """Draws the pictures; seconds of denoising a picture."""
    command = [args.sdgen, "-m", args.model, "--prompts", args.prompts, "-s", "7", "-o", f"{folder}/{{index:04}}.png", "--overwrite",
               "--no-manifest", "--json", "-q", *with_steps(args, setting), *args.more]  # fmt: skip
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    seconds = [json.loads(line)["timings"]["denoise"] for line in done.stdout.splitlines()]
    return sum(seconds) / len(seconds)


def distances(args: argparse.Namespace, a: Path, b: Path) -> list[float]:
    """The PSNR of every pair."""
    done = subprocess.run([args.sdgen, "compare", a, b, "--json"], capture_output=True, text=True)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    if len(lines) != len(list(a.glob("*.png"))):
        raise SystemExit(f"{a}, {b}: {len(lines)} pairs: {done.stderr}")
    return [float("inf") if line["psnr"] is None else line["psnr"] for line in lines]


def grade(args: argparse.Namespace, setting: str) -> str:
    if not args.grade:
        return ""
    command = [sys.executable, ROOT / "tools" / "grade_default_model.py", args.model, "--program", args.sdgen, "--kinds", "one", "--every",
               str(args.grade), "--", *with_steps(args, setting), *args.more]  # fmt: skip
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    one = json.loads(done.stdout.splitlines()[-1])["one"]
    return f" {one['things']:.1%} / {one['colour']:.1%} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sdgen", type=Path, default=ROOT / "build" / "sdgen")
    parser.add_argument("-m", "--model", type=Path, default=ROOT / "models" / "default")
    parser.add_argument("--prompts", type=Path, default=ROOT / "models" / "gallery" / "embedded.txt", help="a file, a prompt a line")
    parser.add_argument("--pictures", type=int, default=40, help="the first so many prompts (default: 40)")
    parser.add_argument("--settings", nargs="+", default=SETTINGS, metavar="OPTIONS")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--grade", type=int, default=0, metavar="N")
    own, more = sys.argv[1:], []
    if "--" in own:
        own, more = own[: own.index("--")], own[own.index("--") + 1 :]
    args = parser.parse_args(own)
    args.more = more
    with tempfile.TemporaryDirectory() as scratch:
        prompts = args.prompts.read_text(encoding="utf-8").splitlines()[: args.pictures]
        args.prompts = Path(scratch) / "prompts.txt"
        args.prompts.write_text("\n".join(prompts) + "\n", encoding="utf-8")
        folders = {setting: Path(scratch) / str(i) for i, setting in enumerate(("", *args.settings))}
        least = dict.fromkeys(folders, float("inf"))
        for _ in range(args.repeat):
            for setting, folder in folders.items():
                seconds = draw(args, setting, folder)
                least[setting] = min(least[setting], seconds)
                print(f"{seconds:.3f} s a picture: {setting or 'all calls, whole'}", file=sys.stderr, flush=True)
        graded = (" right things / backgrounds |", "---|") if args.grade else ("", "")
        print(f"| of {args.steps} steps | denoising | faster by | PSNR, median | least |{graded[0]}\n|---|---|---|---|---|{graded[1]}")
        print(f"| all calls, whole | {1000 * least['']:.1f} ms | | | |{grade(args, '')}", flush=True)
        for setting in args.settings:
            psnr = distances(args, folders[""], folders[setting])
            print(f"| `{setting}` | {1000 * least[setting]:.1f} ms | {least[''] / least[setting]:.2f} x | {statistics.median(psnr):.1f} dB | "
                  f"{min(psnr):.1f} dB |{grade(args, setting)}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
